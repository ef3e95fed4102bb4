"""Datasets of stored params for tests, and weights whose params depend on the encoder."""

from pathlib import Path

import pytest
import torch

from dakpn.config import TranslateConfig
from dakpn.models.predictor import KernelPredictor
from dakpn.models.weights import load_predictor, save_predictor
from dakpn.translation.job import translate_dataset
from tests.scenes import CAMVID


def store_params(weights: str, source: str | Path, output: Path, **more: object) -> Path:
    """The translation job, in this process."""
    values = {"weights": weights, "input": str(source), "output": str(output), "content": "params", **more}
    translate_dataset(TranslateConfig.model_validate(values))
    return output


@pytest.fixture(scope="module")
def guessing_weights(weights: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Like `weights`, but conditioned on the encoder, whose logits are spread as widely as those of a trained one."""
    labelled, _, _ = load_predictor(weights)
    head = labelled.config.head.model_copy(update={"condition": "encoder"})
    predictor = KernelPredictor(labelled.config.model_copy(update={"head": head}))
    predictor.load_state_dict(labelled.state_dict())
    with torch.no_grad():
        predictor.encoder.get_parameter("classify.weight").mul_(20)
        predictor.head.weight.mul_(0.3)
    folder = tmp_path_factory.mktemp("guessing")
    save_predictor(str(folder), predictor, CAMVID.label_space, "random weights of the tests")
    return str(folder)
