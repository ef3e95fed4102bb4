"""The segmentation task: network and loss in one module with one forward."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakpn.models.precision import autocast
from dakpn.segmentation.augment import augment


class SegmentationTask(nn.Module):
    """Class-weighted cross entropy on augmented batches.

    Attributes:
        compute_dtype: of the network; the loss is always float32.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        class_weights: Tensor,
        ignore_id: int,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype
        self.network = network
        self.ignore_id = ignore_id
        self.register_buffer("class_weights", class_weights)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss` for `image` float [B, 3, H, W] in 0..1 and `label` int64 [B, H, W] of train ids."""
        images, labels = augment(batch["image"], batch["label"])
        with autocast(images.device, self.compute_dtype):
            logits = self.network(images.contiguous(memory_format=torch.channels_last)).float()
        total = F.cross_entropy(logits, labels, self.class_weights, ignore_index=self.ignore_id, reduction="sum")
        # Not the built-in mean: it is not a number for a batch of ignored pixels alone.
        weight = self.class_weights[labels[labels != self.ignore_id]].sum()
        return {"loss": total / weight.clamp(min=1e-6)}


def balanced_class_weights(pixel_counts: np.ndarray) -> Tensor:
    """Weights that grow with the inverse square root of a class's frequency, 1 on average over pixels.

    Args:
        pixel_counts: [C] pixels of each class in (a sample of) the training labels.
    """
    frequency = torch.from_numpy(pixel_counts / max(pixel_counts.sum(), 1)).float()
    weights = (frequency + 0.005).rsqrt()
    return weights / (weights * frequency).sum().clamp(min=1e-6)
