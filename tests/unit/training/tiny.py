"""Tiny tasks, states and batches, each a pure function of its arguments."""

from collections.abc import Iterator
from itertools import count
from typing import Any

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
from dakpn.models.segmenter import SmallSegmenter
from dakpn.segmentation.fit import segmentation_state
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.health import Alarm
from dakpn.training.state import ExponentialMovingAverage, TrainState

CLASSES = 4
LOW, FULL, PATCH = (12, 16), (24, 32), (16, 16)
NETWORK = EncoderConfig.model_validate({"network": {"widths": (4, 4, 8, 8)}}).network
Batch = dict[str, Tensor]


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


def adversarial_batch(step: int) -> Batch:
    """The batch of a step: random images, patches that lie at random places of their image."""
    rng = torch.Generator().manual_seed(step)
    corners = [torch.randint(0, full - side + 1, (2,), generator=rng) for full, side in zip(FULL, PATCH, strict=True)]
    return {
        "synthetic_low": torch.rand(2, 3, *LOW, generator=rng),
        "synthetic_patch": torch.rand(2, 3, *PATCH, generator=rng),
        "synthetic_window": torch.stack(
            [torch.tensor([*FULL, corners[0][i], corners[1][i], *PATCH], dtype=torch.int64) for i in range(2)]
        ),
        "synthetic_style": torch.randint(0, 2**31, (2,), generator=rng),
        "synthetic_noise": torch.randint(0, 2**32, (2,), generator=rng),
        "step": torch.tensor(step),
        "real_low": torch.rand(2, 3, *LOW, generator=rng) / 2,
        "real_patch": torch.rand(2, 3, *PATCH, generator=rng) / 2,
    }


def segmentation_batch(step: int) -> Batch:
    """Random images and labels."""
    rng = torch.Generator().manual_seed(step)
    labels = torch.randint(0, CLASSES, (2, *LOW), generator=rng)
    return {"image": torch.rand(2, 3, *LOW, generator=rng), "label": labels}


def batches_from(make_batch, start: int = 0) -> Iterator[Batch]:
    """Endless batches, beginning with that of step `start`."""
    return map(make_batch, count(start))


class Reports:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.alarms: list[Alarm] = []

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.lines.append((step, metrics))

    def alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)
