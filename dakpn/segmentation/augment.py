"""Geometric augmentation of labelled batches: flip and random crop, labels by nearest neighbour."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dakpn.data.augmentation import MAX_ZOOM, crop_window


def augment(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flip half of the images and zoom each by 1 to 1.3 at a random place, using torch's default generator.

    Args:
        images: float [B, 3, H, W].
        labels: int64 [B, H, W].

    Returns:
        Tensors of the same shapes; image and label move together.
    """
    pairs = [_augment_one(image, label) for image, label in zip(images, labels, strict=True)]
    return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])


def _augment_one(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    height, width = label.shape
    zoom, vertical, horizontal, flip = torch.rand(4).tolist()
    window = crop_window((height, width), MAX_ZOOM * zoom, vertical, horizontal)
    image = F.interpolate(image[:, *window][None], (height, width), mode="bilinear", align_corners=False)[0]
    label = F.interpolate(label[window][None, None].float(), (height, width), mode="nearest")[0, 0].long()
    return (image.flip(-1), label.flip(-1)) if flip < 0.5 else (image, label)
