"""Branch-free conversion between RGB and HSV with finite gradients on every colour."""

import torch
from torch import Tensor

GREY_CHROMA = 1e-5
"""Below this chroma a colour counts as grey: its hue is 0 and carries no gradient."""


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """Hue (in turns), saturation and value of RGB colours.

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
    """RGB of HSV colours; any hue is taken modulo one turn.

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
