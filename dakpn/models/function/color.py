"""Branch-free conversion between RGB, HSV and l-alpha-beta with finite gradients on every color."""

import functools
import math

import numpy as np
import torch
from torch import Tensor

GREY_CHROMA = 1e-5
"""Below this chroma a color counts as grey: its hue is 0 and carries no gradient."""
FAINTEST_CHROMA = 1 / 256
"""A little less than that of any color in 8 bits that is not grey."""
LAST_HUES = 1 / (6 * 256)
"""The turns before a whole one in which no color in 8 bits has its hue."""

LOG_OFFSET = 1 / 255
"""Added to cone responses before the logarithm and taken off after: black stays finite, there and back is exact."""
BRIGHTEST_CONE = 2.0
"""Twice the response to white; see `lab_to_rgb`."""
RGB_TO_CONES = ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444))
"""Red, green and blue to the responses of long, medium and short cones (Reinhard et al. 2001)."""
CONES_TO_RGB = tuple(map(tuple, np.linalg.inv(RGB_TO_CONES).tolist()))
LOG_CONES_TO_LAB = tuple(
    tuple(weight / math.sqrt(sum(w * w for w in row)) for weight in row) for row in ((1, 1, 1), (1, 1, -2), (1, -1, 0))
)
"""An orthonormal basis: lightness, yellow to blue, red to green."""


def channel_values(values: tuple[float, ...], like: Tensor) -> Tensor:
    """One value a channel, [P, 1, 1], of the type and on the device of `like`; copied there once and kept."""
    # Tensors that stand for values, as an export makes them, must not be kept.
    constant = _constant.__wrapped__ if torch.compiler.is_compiling() else _constant
    return constant(values, like.dtype, like.device)


@functools.lru_cache(maxsize=1024)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # a tensor of inference could never take part in training
        return torch.tensor(values, dtype=dtype).to(device).view(-1, 1, 1)


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """Hue (in turns), saturation and value of RGB colors.

    Args:
        rgb: float [..., 3, H, W] in 0..1.

    Returns:
        float [..., 3, H, W]; hue in 0..1, saturation and value in 0..1. Grey has hue 0, black saturation 0.
    """
    red, green, blue = rgb.unbind(-3)
    value = rgb.amax(-3)
    chroma = value - rgb.amin(-3)
    colored = chroma > GREY_CHROMA
    safe_chroma = torch.where(colored, chroma, torch.ones_like(chroma))
    safe_value = torch.where(colored, value, torch.ones_like(value))
    sector = torch.where(
        value == red,
        (green - blue) / safe_chroma,
        torch.where(value == green, 2 + (blue - red) / safe_chroma, 4 + (red - green) / safe_chroma),
    )
    hue = torch.where(colored, torch.remainder(sector / 6, 1.0), torch.zeros_like(sector))
    saturation = torch.where(colored, chroma / safe_value, torch.zeros_like(chroma))
    return torch.stack((hue, saturation, value), -3)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """RGB of HSV colors; any hue is taken modulo one turn.

    Args:
        hsv: float [..., 3, H, W]; saturation and value in 0..1.

    Returns:
        float [..., 3, H, W] in 0..1.
    """
    hue, saturation, value = (channel.unsqueeze(-3) for channel in hsv.unbind(-3))
    offsets = torch.arange(5, 0, -2, dtype=hsv.dtype, device=hsv.device).view(3, 1, 1)
    # Each channel keeps `value` within its third of the circle and falls to value * (1 - saturation) outside.
    sector = torch.remainder(offsets + 6 * hue, 6.0)
    fall = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return value - value * saturation * fall


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Decorrelated log colors (l, alpha, beta) of RGB colors.

    Args:
        rgb: float [..., 3, H, W] in 0..1.

    Returns:
        float [..., 3, H, W]; l in -4.2..0.01, alpha and beta within -2.1..2.1.

    Source: Ruderman et al. 1998, as used by Reinhard et al. 2001. Departure: an offset instead of a cut before the
    logarithm.
    """
    cones = _mix(RGB_TO_CONES, rgb) + LOG_OFFSET
    return _mix(LOG_CONES_TO_LAB, cones.log10())


def lab_to_rgb(lab: Tensor) -> Tensor:
    """RGB colors float [..., 3, H, W] of l-alpha-beta ones; out of 0..1 where the color cannot be shown.

    A color with a cone response over `BRIGHTEST_CONE` is dimmed to it as a whole. No color that can be shown has one
    over 1, and of a brighter one the differences that make red, green and blue are lost in rounding, or infinite.
    """
    log_cones = _mix(tuple(zip(*LOG_CONES_TO_LAB, strict=True)), lab) * math.log(10)
    excess = (log_cones.amax(-3, keepdim=True) - math.log(BRIGHTEST_CONE)).clamp(min=0)
    return _mix(CONES_TO_RGB, torch.exp(log_cones - excess) - LOG_OFFSET)


def _mix(matrix: tuple[tuple[float, ...], ...], channels: Tensor) -> Tensor:
    """A 3 x 3 matrix applied to each color, term by term: the same sum for a pixel in whatever tile it lies."""
    columns = zip(*matrix, strict=True)
    first, second, third = (
        channel_values(column, channels) * channel
        for column, channel in zip(columns, channels.split(1, -3), strict=True)
    )
    return first + second + third
