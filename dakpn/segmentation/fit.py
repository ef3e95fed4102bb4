"""Train a segmentation network: the recipe shared by the source encoder and every downstream contender."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dakpn.config import NetworkConfig, SegmenterTrainingConfig
from dakpn.images.augmentation import AUGMENTATIONS
from dakpn.models.precision import CPU, place
from dakpn.models.segmenters.networks import build_untrained_network
from dakpn.models.segmenters.segmenter import Segmenter
from dakpn.segmentation.examples import BatchSource
from dakpn.segmentation.self_training import SelfTraining, SelfTrainingTask
from dakpn.segmentation.task import Recolor, SegmentationTask, balanced_class_weights
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.loop import LoopSettings, Saver, run_steps
from dakpn.training.monitor import Alarm
from dakpn.training.state import TrainState

_WARM_UP_SHARE = 0.1


def segmentation_state(
    network: nn.Module,
    training: SegmenterTrainingConfig,
    pixel_counts: np.ndarray,
    ignore_id: int,
    compute_dtype: torch.dtype = torch.float32,
    recolor: Recolor | None = None,
) -> TrainState:
    """A fresh train state: AdamW under a one-cycle schedule, class-balanced cross entropy."""
    device = next(network.parameters()).device
    class_weights = balanced_class_weights(pixel_counts).to(device)
    augmentation = AUGMENTATIONS[training.augmentation]
    task = SegmentationTask(network, class_weights, ignore_id, compute_dtype, recolor, augmentation, training.crop)
    optimizer = torch.optim.AdamW(
        network.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps + 1, pct_start=_WARM_UP_SHARE
    )
    return TrainState(task, {"segmenter": optimizer}, {"segmenter": scheduler})


@dataclass(frozen=True)
class Workplace:
    """Where and how a network is trained.

    Attributes:
        device: Device of network and batches.
        dtype: that the network computes in.
        checkpoints: where a training that was stopped goes on from; None keeps none.
        checkpoint_every: in steps.
        until: step at which the training is left off; None trains to the end.
    """

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    checkpoints: CheckpointFolder | None = None
    checkpoint_every: int = 1_000_000
    until: int | None = None


HERE = Workplace()


def fit_segmenter(
    examples: BatchSource,
    config: NetworkConfig,
    training: SegmenterTrainingConfig,
    seed: int,
    workplace: Workplace = HERE,
    self_training: SelfTraining | None = None,
) -> Segmenter:
    """Train a network on examples; the same arguments give the same network, stopped in between or not.

    Args:
        examples: labelled images.
        config: the network.
        training: how it is trained.
        seed: Seed of its first weights, its batches and their augmentation.
        workplace: where and how it is trained.
        self_training: real images without labels that are learned from, too; None trains on labels alone.

    Raises:
        UsageError, WeightsError: the network cannot be built.
        TrainingError: the loss is not finite.
    """
    torch.manual_seed(seed)
    space = examples.label_space
    network = build_untrained_network(config, space.num_classes)
    if workplace.device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # one that was stopped ends as one that never was
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network = place(network, workplace.device)
    state = segmentation_state(network, training, examples.pixel_counts(), space.ignore_id, workplace.dtype)
    if self_training is not None:
        state.task = SelfTrainingTask(state.task, self_training.settings)
    if workplace.checkpoints is not None:
        workplace.checkpoints.restore_newest(state)
    drawn = examples.random_batches(training.batch_size_per_worker, seed, state.step)
    if self_training is not None:
        drawn = self_training.with_real(drawn, seed, state.step)
    batches = (batch.to(workplace.device) for batch in drawn)
    steps, every = workplace.until or training.steps, workplace.checkpoint_every
    settings = LoopSettings(steps, report_every=steps, checkpoint_every=min(every, steps), seed=seed)
    saver = None if every >= steps else Saver(state, workplace.checkpoints)
    run_steps(state, state.task, batches, settings, _Silent(), saver)
    return network.eval()


class _Silent:
    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of a contender's training are not kept; its score is."""

    def alarm(self, alarm: Alarm) -> None:
        """Do nothing: contenders have no alarms."""
