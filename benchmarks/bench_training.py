"""A training step of batch 8 against the same step with the literal translation function."""

from collections.abc import Iterator
from unittest import mock

import torch

from benchmarks.literal import literal_blur, tile_size
from benchmarks.measure import Claim, alternate, at_least
from benchmarks.scenes import GTA5, PREDICTION
from dakpn.config import (
    AdversarialConfig,
    DiscriminatorConfig,
    HeadConfig,
    PredictorConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslationConfig,
)
from dakpn.models.predictor import KernelPredictor
from dakpn.models.stages import local
from dakpn.training.adversarial import AdversarialTask

_BATCH = 8
_CLASSES = 19


def run() -> Iterator[Claim]:
    """One core. The literal step runs image by image: unfolding a batch of 8 takes tens of gigabytes."""
    torch.set_num_threads(1)
    task, batch = _task(), _batch(_BATCH)
    one = _batch(1)

    def literal_step() -> None:
        with mock.patch.object(local, "gaussian_blur", literal_blur):
            _step(task, one)

    ours = alternate({"ours": lambda: _step(task, batch)}, 3)["ours"]
    literal = _BATCH * alternate({"literal": literal_step}, 1, warm_up=False)["literal"]
    yield at_least(
        "training step, batch 8, vs the literal function", 15, literal / ours, ours_s=ours, literal_s=literal
    )


def _task() -> AdversarialTask:
    config = PredictorConfig(
        num_classes=_CLASSES,
        prediction_size=PREDICTION,
        network=SmallNetworkConfig(),
        head=HeadConfig(condition="encoder"),
        translation=TranslationConfig(),
        style=StyleConfig(kind="none"),
    )
    return AdversarialTask(KernelPredictor(config), AdversarialConfig(), DiscriminatorConfig()).train()


def _batch(size: int) -> dict[str, torch.Tensor]:
    patch = tile_size(GTA5)
    window = torch.tensor([[*GTA5, 100, 200, *patch]] * size)
    shapes = {"synthetic_low": PREDICTION, "real_low": PREDICTION, "synthetic_patch": patch, "real_patch": patch}
    images = {name: torch.rand(size, 3, *shape) for name, shape in shapes.items()}
    return {**images, "synthetic_window": window, "synthetic_noise": torch.arange(size)}


def _step(task: AdversarialTask, batch: dict[str, torch.Tensor]) -> None:
    task.zero_grad(set_to_none=True)
    task(batch)["loss"].backward()
