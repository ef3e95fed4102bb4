"""Fixtures that all suites share: one tiny dataset a session, and the weights of a tiny run."""

from pathlib import Path

import pytest
import torch

from dakpn.config import TrainConfig
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import color_moments
from dakpn.models.weights import save_predictor
from tests.scenes import CAMVID, Scenes, make_scenes, tiny_training

torch.set_num_threads(1)  # tiny tensors: more threads only wait for one another when the machine is busy


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Rendered and packed once."""
    return make_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes) -> str:
    """Predictor weights with a random head and styles: they change every image, which untrained weights would not."""
    return _random_weights(tmp_path_factory.mktemp("weights"), tiny_training("unused", scenes))


@pytest.fixture(scope="session")
def weights_for_any_image(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes) -> str:
    """Like `weights`, but of a predictor that does not look at labels."""
    config = tiny_training("unused", scenes, "head.condition=encoder")
    return _random_weights(tmp_path_factory.mktemp("weights_for_any_image"), config)


def _random_weights(folder: Path, config: TrainConfig) -> str:
    torch.manual_seed(0)
    classes = CAMVID.label_space.num_classes
    predictor = KernelPredictor(config.predictor(config.encoder.network, classes, ("dusk", "noon", "rain")))
    if predictor.style_bank is not None:
        shares = torch.rand(3, classes, 8, 8).softmax(1)
        predictor.style_bank.fill(color_moments(torch.rand(3, 3, 8, 8), shares))
    torch.nn.init.normal_(predictor.head.weight)
    torch.nn.init.normal_(predictor.head.bias)
    save_predictor(str(folder), predictor, CAMVID.label_space, "random weights of the tests")
    return str(folder)
