"""The translation function written down literally from its definition, in float64 and without any speed."""

import colorsys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 12


def literal_blur(image: Tensor, sigma: Tensor, radius: int = RADIUS) -> Tensor:
    """y(p) = sum_q k(q) x(p + q) / sum_q k(q) over an unfolded (2r + 1)^2 window with replicated edges."""
    batch, channels, height, width = image.shape
    side = 2 * radius + 1
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    windows = F.unfold(padded.reshape(batch * channels, 1, *padded.shape[-2:]), side)
    windows = windows.reshape(batch, channels, side * side, height, width)
    offset = torch.arange(-radius, radius + 1, dtype=image.dtype)
    square = (offset[:, None] ** 2 + offset[None, :] ** 2).reshape(1, 1, -1, 1, 1)
    kernel = torch.exp(-square / (2 * sigma.square() + 1e-16).unsqueeze(2))
    return (kernel * windows).sum(2) / kernel.sum(2)


def literal_hsv_affine(image: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """HSV affine of one RGB color with the standard library's conversions."""
    hsv = gain * np.array(colorsys.rgb_to_hsv(*image)) + bias
    return np.array(colorsys.hsv_to_rgb(hsv[0] % 1.0, *np.clip(hsv[1:], 0, 1)))
