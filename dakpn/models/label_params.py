"""Params and moments straight from class shares in bytes, on a CPU: the torch form's sums in a fraction of its time."""

import numpy as np
import torch
from torch import Tensor

from dakpn.models.function.color import LOG_CONES_TO_LAB, LOG_OFFSET, RGB_TO_CONES
from dakpn.models.style import SMALLEST_MASS, ColorMoments

try:
    from dakpn.models import share_kernels
except ImportError:  # numba is optional where it has no build
    share_kernels = None


def has_kernels_for(shares: Tensor | None) -> bool:
    """Whether the functions below take these class shares: in bytes, on the CPU, where there is a compiler."""
    return (
        shares is not None and share_kernels is not None and shares.dtype == torch.uint8 and shares.device.type == "cpu"
    )


def as_fractions(shares: Tensor) -> Tensor:
    """Class shares in 0..1, of such or of bytes."""
    return shares.float().div(255) if shares.dtype == torch.uint8 else shares


def label_moments(images: Tensor, shares: Tensor) -> ColorMoments:
    """As `color_moments` of images float [B, 3, h, w], given class shares uint8 [B, C, h, w]."""
    lab = _lab(images)
    return ColorMoments(*map(torch.cat, zip(*map(_moments, lab, shares), strict=True)))


def _lab(images: Tensor) -> Tensor:
    """`rgb_to_lab`, bit for bit, in a third of the passes over memory."""
    cones, lab = torch.empty(images.shape), torch.empty(images.shape)
    to_cones, to_lab = (np.array(matrix, np.float32) for matrix in (RGB_TO_CONES, LOG_CONES_TO_LAB))
    for image, response, result in zip(images, cones, lab, strict=True):
        rgb, own, out = (values.contiguous().view(3, -1) for values in (image, response, result))
        _kernels().mixed(rgb.numpy(), to_cones, np.float32(LOG_OFFSET), own.numpy())
        _kernels().mixed(own.log10_().numpy(), to_lab, np.float32(0), out.numpy())
    return lab


def _moments(lab: Tensor, shares: Tensor) -> list[Tensor]:
    """The moments of one image [3, h, w] as `ColorMoments` has them, batches of one."""
    classes = len(shares)
    mean, spread, class_mass, class_mean, class_spread = (
        np.zeros(shape) for shape in (3, 3, classes, (classes, 3), (classes, 3))
    )
    channels = lab.contiguous().numpy()
    _kernels().whole_moments(channels, mean, spread)
    _kernels().class_moments(channels, shares.numpy(), SMALLEST_MASS, class_mass, class_mean, class_spread)
    found = (mean, spread, class_mass, class_mean, class_spread)
    return [torch.from_numpy(values).float()[None] for values in found]


def weighted_sums(shares: Tensor, weights: Tensor, start: Tensor) -> Tensor:
    """Float [B, P, h, w]: `start` [B, P], and the shares uint8 [B, C, h, w] times `weights` [B, P, C]."""
    out = torch.empty(*weights.shape[:2], *shares.shape[-2:])
    for own, matrix, first, target in zip(shares, weights, start, out, strict=True):
        _kernels().weighted_sums(own.numpy(), matrix.contiguous().numpy(), first.contiguous().numpy(), target.numpy())
    return out


def _kernels():
    if share_kernels is None:
        raise RuntimeError("sums over class shares in bytes need numba; ask `has_kernels_for` first")
    return share_kernels
