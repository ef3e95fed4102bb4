"""The segmentation task: augmentation, network and loss in one module with one forward."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.images.augmentation import BORDER, DRAWS, STANDARD, Augmentation, Tones, distorted
from dakpn.models.precision import autocast
from dakpn.training.data import SegmentationBatch
from dakpn.training.loop import FIRST_STEP, Step

Recolor = Callable[[Tensor, Tensor], Tensor]
"""Takes images float [B, 3, h, w] in 0..1 and labels int64 [B, h, w], and returns images of the same shape."""


class SegmentationTask(nn.Module):
    """Class-weighted cross entropy on augmented batches.

    Attributes:
        compute_dtype: Data type of the network; the loss is always float32.
        recolor: changes the colors of a batch's images before they are augmented; None leaves them.
        augmentation: how far the views that are learned from are from the images; None takes these as they are.
        crop: (h, w) of the views; None: of the images.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        class_weights: Tensor,
        ignore_id: int,
        compute_dtype: torch.dtype = torch.float32,
        recolor: Recolor | None = None,
        augmentation: Augmentation | None = STANDARD,
        crop: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype
        self.network = network
        self.ignore_id = ignore_id
        self.recolor = recolor
        self.augmentation = augmentation
        self.crop = crop
        self.register_buffer("class_weights", class_weights)

    def forward(self, batch: SegmentationBatch, step: Step = FIRST_STEP) -> dict[str, Tensor]:
        """`loss` for a batch of train ids."""
        return {"loss": self.loss(*self.prepared(batch))}

    def prepared(self, batch: SegmentationBatch) -> tuple[Tensor, Tensor]:
        """Images [B, 3, h, w] and train ids [B, h, w] as the network sees them: recolored, augmented and cropped."""
        images, labels = batch.images, batch.labels
        if self.recolor is not None:
            images = self.recolor(images, labels)
        return self.augmented(images, labels)

    def augmented(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Views of images [B, 3, H, W] and train ids [B, H, W]; the same where nothing is augmented."""
        if self.augmentation is None:
            return images, labels
        return augment(images, labels, self.augmentation, self.ignore_id, self.crop)

    def loss(self, images: Tensor, labels: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """The loss, a scalar, on images as `prepared` gives them.

        Args:
            images: float [B, 3, h, w] in 0..1.
            labels: int64 [B, h, w] of train ids.
            pixel_weights: float [B, h, w] in 0..1, a weight for each pixel's loss; None counts all of them whole.
        """
        with autocast(images.device, self.compute_dtype):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        cross_entropy = partial(F.cross_entropy, weight=self.class_weights, ignore_index=self.ignore_id)
        if pixel_weights is None:
            total = cross_entropy(logits, labels, reduction="sum")
        else:
            total = (cross_entropy(logits, labels, reduction="none") * pixel_weights).sum()
        # Not the built-in mean: it is not a number for a batch of ignored pixels alone.
        counted = labels != self.ignore_id
        weight = (self.class_weights[labels * counted] * counted).sum()
        return total / weight.clamp(min=1e-6)


def balanced_class_weights(pixel_counts: np.ndarray) -> Tensor:
    """Weights that grow with the inverse square root of a class's frequency, 1 on average over pixels.

    Args:
        pixel_counts: [C] pixels of each class in (a sample of) the training labels.
    """
    frequency = torch.from_numpy(pixel_counts / max(pixel_counts.sum(), 1)).float()
    weights = (frequency + 0.005).rsqrt()
    return weights / (weights * frequency).sum().clamp(min=1e-6)


def augment(
    images: Tensor,
    labels: Tensor,
    augmentation: Augmentation,
    ignore_id: int,
    crop: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """A random view of each image of a batch, using torch's default generator.

    The draws are made on the CPU, so that they are the same on every device; all else happens to the whole batch at
    once, images bilinearly and labels by the nearest pixel.

    Args:
        images: float [B, 3, H, W] in 0..1.
        labels: int64 [B, H, W].
        augmentation: how far views are from their images.
        ignore_id: what labels say where a view reaches beyond its image.
        crop: (h, w) of the views, which show as much of the images; None: H and W.

    Returns:
        Images float [B, 3, h, w] and labels int64 [B, h, w]; both move together.
    """
    draws = torch.rand(len(images), DRAWS).to(images.device, non_blocking=True).unbind(1)
    height, width = crop or (images.shape[-2], images.shape[-1])
    window = augmentation.window(draws, (height / images.shape[-2], width / images.shape[-1]))
    nothing = torch.zeros_like(window.height)
    across = window.width * window.direction
    views = torch.stack((across, nothing, window.right, nothing, window.height, window.down), 1).view(-1, 2, 3)
    grid = F.affine_grid(views, [len(images), 3, height, width], align_corners=False)
    outside = (grid.abs() > 1).any(-1)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    ids = F.grid_sample(labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    if augmentation.recolors:
        tones = Tones(*(tone[:, None, None] for tone in augmentation.drawn_tones(draws)))
        moved = torch.stack(distorted(moved.unbind(1), tones, torch), 1)
    return moved.masked_fill(outside[:, None], BORDER), ids[:, 0].long().masked_fill(outside, ignore_id)
