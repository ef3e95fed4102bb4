"""Tiny tasks, states and batches, each a pure function of its arguments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor

from dakpn.config import (
    AdversarialConfig,
    DiscriminatorConfig,
    EncoderConfig,
    HeadConfig,
    PredictorConfig,
    SegmenterTrainingConfig,
    StyleConfig,
    TranslationConfig,
)
from dakpn.models.predictor import KernelPredictor
from dakpn.models.segmenters.segmenter import SmallSegmenter
from dakpn.segmentation.fit import segmentation_state
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.data import (
    AdversarialBatch,
    PatchWindow,
    RealBatch,
    SegmentationBatch,
    SyntheticBatch,
    TensorBatch,
)
from dakpn.training.monitor import Alarm
from dakpn.training.state import ExponentialMovingAverage, TrainState

CLASSES = 4
LOW, FULL, PATCH = (12, 16), (24, 32), (16, 16)
NETWORK = EncoderConfig.model_validate({"network": {"widths": (4, 4, 8, 8)}}).network
_B = TypeVar("_B", bound=TensorBatch)


def tiny_predictor(seed: int = 0, translation: TranslationConfig | None = None, spread: float = 0.5) -> KernelPredictor:
    """A predictor with a random encoder, and a random head that is not at its starting point."""
    torch.manual_seed(seed)
    head = HeadConfig(condition="encoder", features="logits")
    predictor = KernelPredictor(
        PredictorConfig(
            num_classes=CLASSES,
            prediction_size=LOW,
            network=NETWORK,
            head=head,
            translation=translation or TranslationConfig(),
            style=StyleConfig(kind="none"),
        )
    )
    for parameter in predictor.head.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return predictor


def tiny_task(
    seed: int = 0, *, shared: bool = False, translation: TranslationConfig | None = None, **adversarial: Any
) -> AdversarialTask:
    """An adversarial task on tiny networks."""
    predictor = tiny_predictor(seed, translation)
    discriminator = DiscriminatorConfig(widths=(4, 8), shared=shared)
    return AdversarialTask(predictor, AdversarialConfig(patch_size=PATCH, **adversarial), discriminator)


def adversarial_state(seed: int = 0, learning_rate: float = 1e-2) -> TrainState:
    """Two Adam optimizers and a smoothed head."""
    task = tiny_task(seed)
    judges = [*task.patch_discriminator.parameters(), *task.whole_discriminator.parameters()]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "predictor": torch.optim.Adam(task.predictor.head.parameters(), learning_rate),
        "discriminator": torch.optim.Adam(judges, learning_rate),
    }
    return TrainState(task, optimizers, {}, ExponentialMovingAverage(task.predictor, 0.9))


def segmenter_state(seed: int = 0) -> TrainState:
    """AdamW under a one-cycle schedule of 8 steps, a network with batch statistics."""
    torch.manual_seed(seed)
    training = SegmenterTrainingConfig(size=LOW, steps=8)
    counts = torch.ones(CLASSES).numpy()
    return segmentation_state(SmallSegmenter(NETWORK, CLASSES), training, counts, ignore_id=255)


def adversarial_batch(step: int) -> AdversarialBatch:
    """The batch of a step: random images, patches that lie at random places of their image."""
    rng = torch.Generator().manual_seed(step)
    corners = [torch.randint(0, full - side + 1, (2,), generator=rng) for full, side in zip(FULL, PATCH, strict=True)]
    synthetic = SyntheticBatch(
        low=torch.rand(2, 3, *LOW, generator=rng),
        patch=torch.rand(2, 3, *PATCH, generator=rng),
        window=PatchWindow(full_size=torch.tensor([FULL, FULL]), corner=torch.stack(corners, 1)),
        style=torch.randint(0, 2**31, (2,), generator=rng),
        noise_seed=torch.randint(0, 2**32, (2,), generator=rng),
        image_number=torch.arange(2) + 2 * step,
    )
    low, patch = (torch.rand(2, 3, *size, generator=rng) / 2 for size in (LOW, PATCH))
    return AdversarialBatch(synthetic, RealBatch(low, patch))


def segmentation_batch(step: int) -> SegmentationBatch:
    """Random images and labels."""
    rng = torch.Generator().manual_seed(step)
    labels = torch.randint(0, CLASSES, (2, *LOW), generator=rng)
    return SegmentationBatch(torch.rand(2, 3, *LOW, generator=rng), labels)


@dataclass(frozen=True)
class Values(TensorBatch):
    """The smallest batch: a number an image."""

    value: Tensor


def values(*numbers: float) -> Iterator[Values]:
    """Batches of one image each."""
    return (Values(torch.tensor([float(number)])) for number in numbers)


def batches_from(make_batch: Callable[[int], _B], start: int = 0) -> Iterator[_B]:
    """Endless batches, beginning with that of step `start`."""
    return map(make_batch, count(start))


def tensors_of(batch: TensorBatch) -> dict[str, Tensor]:
    """All tensors of a batch, those of batches in it under names like `synthetic.low`."""
    found = {}
    for field in fields(batch):  # pyright: ignore[reportArgumentType]
        value = getattr(batch, field.name)
        if isinstance(value, TensorBatch):
            found |= {f"{field.name}.{name}": tensor for name, tensor in tensors_of(value).items()}
        elif value is not None:
            found[field.name] = value
    return found


def merged(function: Callable[..., Tensor], *batches: _B) -> _B:
    """The batch whose tensors are the function of the tensors in the same place of each batch."""

    def value_of(*values: Any) -> Any:
        if values[0] is None:
            return None
        return merged(function, *values) if isinstance(values[0], TensorBatch) else function(*values)

    names = [field.name for field in fields(batches[0])]  # pyright: ignore[reportArgumentType]
    return type(batches[0])(*(value_of(*(getattr(batch, name) for batch in batches)) for name in names))


def doubled(batch: _B) -> _B:
    """The batch in float64, so that gradients can be compared closely."""
    return merged(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, batch)


class Reports:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.alarms: list[Alarm] = []

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.lines.append((step, metrics))

    def alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)
