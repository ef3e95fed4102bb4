"""The segmentation task: augmentation, network and loss in one module with one forward."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.images.augmentation import MAX_ZOOM
from dakpn.models.precision import autocast
from dakpn.training.data import SegmentationBatch
from dakpn.training.loop import FIRST_STEP, Step

Recolour = Callable[[Tensor, Tensor], Tensor]
"""Takes images float [B, 3, h, w] in 0..1 and labels int64 [B, h, w], and returns images of the same shape."""


class SegmentationTask(nn.Module):
    """Class-weighted cross entropy on augmented batches.

    Attributes:
        compute_dtype: of the network; the loss is always float32.
        recolour: changes the colours of a batch's images before they are augmented; None leaves them.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        class_weights: Tensor,
        ignore_id: int,
        compute_dtype: torch.dtype = torch.float32,
        recolour: Recolour | None = None,
    ) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype
        self.network = network
        self.ignore_id = ignore_id
        self.recolour = recolour
        self.register_buffer("class_weights", class_weights)

    def forward(self, batch: SegmentationBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss` for a batch of train ids."""
        images, labels = batch.images, batch.labels
        if self.recolour is not None:
            images = self.recolour(images, labels)
        images, labels = augment(images, labels)
        with autocast(images.device, self.compute_dtype):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        total = F.cross_entropy(logits, labels, self.class_weights, ignore_index=self.ignore_id, reduction="sum")
        # Not the built-in mean: it is not a number for a batch of ignored pixels alone.
        counted = labels != self.ignore_id
        weight = (self.class_weights[labels * counted] * counted).sum()
        return {"loss": total / weight.clamp(min=1e-6)}


def balanced_class_weights(pixel_counts: np.ndarray) -> Tensor:
    """Weights that grow with the inverse square root of a class's frequency, 1 on average over pixels.

    Args:
        pixel_counts: [C] pixels of each class in (a sample of) the training labels.
    """
    frequency = torch.from_numpy(pixel_counts / max(pixel_counts.sum(), 1)).float()
    weights = (frequency + 0.005).rsqrt()
    return weights / (weights * frequency).sum().clamp(min=1e-6)


def augment(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flip half of the images and zoom each by 1 to 1.3 at a random place, using torch's default generator.

    The draws are made on the CPU, so that they are the same on every device; all else happens to the whole batch at
    once, images bilinearly and labels by the nearest pixel.

    Args:
        images: float [B, 3, H, W].
        labels: int64 [B, H, W].

    Returns:
        Tensors of the same shapes; image and label move together.
    """
    zoom, vertical, horizontal, flip = torch.rand(len(images), 4).to(images.device, non_blocking=True).unbind(1)
    # In coordinates of -1..1 a view has this half side, and its centre lies so far from the image's.
    side = 1 / (1 + MAX_ZOOM * zoom)
    down, right = ((1 - side) * (2 * place - 1) for place in (vertical, horizontal))
    mirrored = torch.where(flip < 0.5, -side, side)
    nothing = torch.zeros_like(side)
    views = torch.stack((mirrored, nothing, right, nothing, side, down), 1).view(-1, 2, 3)
    grid = F.affine_grid(views, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    ids = F.grid_sample(labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return moved, ids[:, 0].long()
