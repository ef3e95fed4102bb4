"""Self-training on real images without labels: a mean teacher's guesses, mixed with labelled images class by class.

What people use for adaptation instead of translation, or around it. The teacher is the average of the network over the
steps so far; it labels real images, and the network learns from pictures in which half of the classes of a labelled
image are pasted onto a real one.

Source: Tranheden et al., "DACS: Domain Adaptation via Cross-domain Mixed Sampling", 2021; the mean teacher is that of
Tarvainen and Valpola, 2017. Departures: the teacher follows its network fast in the first steps; teacher and network
see the same view of a real image, and mixed images have the augmentation that all others have.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dakpn.config import SelfTrainingConfig
from dakpn.models.precision import autocast
from dakpn.segmentation.task import SegmentationTask
from dakpn.training.data import SegmentationBatch, TensorBatch
from dakpn.training.loop import FIRST_STEP, Step, step_seed

_REAL_STREAM = 1
"""Keeps the choice of real images apart from that of labelled ones."""


@dataclass(frozen=True)
class SelfTrainingBatch(TensorBatch):
    """Labelled images, and real ones without labels.

    Attributes:
        labelled: B images.
        real: [B', 3, h, w], of bytes 0..255 on the way, float in 0..1 on the device.
    """

    labelled: SegmentationBatch
    real: Tensor


@dataclass(frozen=True)
class SelfTraining:
    """Real images without labels, and how they are learned from.

    Attributes:
        settings: Settings of the mean teacher.
        real: uint8 [K, 3, h, w], of the size of the labelled images.
    """

    settings: SelfTrainingConfig
    real: NDArray[np.uint8]

    def with_real(self, batches: Iterator[SegmentationBatch], seed: int, first: int = 0) -> Iterator[SelfTrainingBatch]:
        """Labelled batches from batch `first` on, with as many real images; those of batch k follow from (seed, k)."""
        for step, labelled in enumerate(batches, first):
            rng = np.random.default_rng([_REAL_STREAM, step_seed(seed, 0, step)])
            chosen = torch.from_numpy(self.real[rng.integers(0, len(self.real), len(labelled))])
            yield SelfTrainingBatch(labelled, chosen)


class SelfTrainingTask(nn.Module):
    """The supervised task on labelled images, and the same loss on mixed ones.

    Args:
        supervised: whose network is trained.
        settings: Settings of the teacher and of its guesses.
    """

    def __init__(self, supervised: nn.Module, settings: SelfTrainingConfig) -> None:
        super().__init__()
        if not isinstance(supervised, SegmentationTask):
            raise TypeError(f"got a task of {type(supervised).__name__}, expected a SegmentationTask")
        self.supervised = supervised
        self.settings = settings
        self.teacher = copy.deepcopy(supervised.network).requires_grad_(False).eval()

    def forward(self, batch: SelfTrainingBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss`, of it `supervised` and `mixed`, and `confident`, the share of real pixels the teacher is sure of.

        Args:
            batch: on the device of this module.
            step: its number says how far back the teacher's average goes.
        """
        self._follow(step.number)
        images, labels = self.supervised.prepared(batch.labelled)
        unlabelled = torch.zeros_like(batch.real[:, 0], dtype=torch.long)
        real, outside = self.supervised.augmented(batch.real, unlabelled)
        with torch.no_grad(), autocast(real.device, self.supervised.compute_dtype):
            guesses = self.teacher(real.contiguous(memory_format=torch.channels_last)).float().softmax(1)
        confidence, pseudo = guesses.max(1)
        pseudo = torch.where(outside == self.supervised.ignore_id, outside, pseudo)
        confident = (confidence > self.settings.threshold).float().mean()
        chosen = chosen_classes(labels, guesses.shape[1], self.supervised.ignore_id)
        mixed_images, mixed_labels = torch.where(chosen[:, None], images, real), torch.where(chosen, labels, pseudo)
        weights = torch.where(chosen, torch.ones_like(confident), confident)
        supervised = self.supervised.loss(images, labels)
        mixed = self.supervised.loss(mixed_images, mixed_labels, weights)
        loss = supervised + self.settings.weight * mixed
        return {"loss": loss, "supervised": supervised.detach(), "mixed": mixed.detach(), "confident": confident}

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the teacher towards the network as the last step left it; batch statistics are taken over."""
        decay = min(1 - 1 / (step + 1), self.settings.decay)
        mine: list[Tensor] = list(self.teacher.parameters())
        theirs: list[Tensor] = list(self.supervised.network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # pyright: ignore
        for kept, new in zip(self.teacher.buffers(), self.supervised.network.buffers(), strict=True):
            kept.copy_(new)

    def train(self, mode: bool = True) -> "SelfTrainingTask":
        """Training mode for the network alone: the teacher always judges."""
        super().train(mode)
        self.teacher.eval()
        return self


def chosen_classes(labels: Tensor, num_classes: int, ignore_id: int) -> Tensor:
    """Where images are pasted: on the pixels of half of the classes that each shows, rounded up, drawn on the CPU.

    Args:
        labels: int64 [B, H, W] of train ids 0..C-1, or `ignore_id`.
        num_classes: C.
        ignore_id: Id of pixels without a class, which are never pasted.

    Returns:
        bool [B, H, W].
    """
    classes = torch.arange(num_classes, device=labels.device)
    shown = (labels.flatten(1)[:, None] == classes[:, None]).any(2)
    order = torch.rand(len(labels), num_classes).to(labels.device, non_blocking=True)
    rank = torch.where(shown, order, torch.full_like(order, 2.0)).argsort(1).argsort(1)
    pasted = shown & (rank < (shown.sum(1, keepdim=True) + 1) // 2)
    known = labels != ignore_id
    return pasted.gather(1, (labels * known).flatten(1)).view_as(labels) & known
