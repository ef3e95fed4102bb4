"""The translation function as its definition reads: params per 8 x 8 tile, 25 x 25 windows unfolded."""

import torch
import torch.nn.functional as F
from torch import Tensor

TILES = 8
_RADIUS = 12


def tile_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of one of the 8 x 8 tiles of an image."""
    return size[0] // TILES, size[1] // TILES


def literal_translation(image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
    """Translate a tile.

    Args:
        image: float [1, 3, H, W] in 0..1.
        params: [1, 12, h, w]: this tile's low-res params.
        noise: standard normal, of the image's shape.
    """
    params = F.interpolate(params, image.shape[-2:], mode="bilinear", align_corners=False)
    hsv = params[:, :3] * _to_hsv(image) + params[:, 3:6]
    image = _to_rgb(torch.cat((hsv[:, :1] % 1.0, hsv[:, 1:].clamp(0, 1)), 1))
    return (literal_blur(image, params[:, 6:9]) + params[:, 9:] * noise).clamp(0, 1)


def literal_blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Unfold every window and weigh it with its pixel's own Gaussian."""
    _, channels, height, width = image.shape
    side = 2 * _RADIUS + 1
    windows = F.unfold(F.pad(image, (_RADIUS,) * 4, mode="replicate"), side).view(channels, side * side, height, width)
    offset = torch.arange(-_RADIUS, _RADIUS + 1, dtype=image.dtype)
    square = (offset[:, None] ** 2 + offset[None, :] ** 2).view(1, -1, 1, 1)
    kernel = torch.exp(-square / (2 * sigma[0].square() + 1e-8).unsqueeze(1))
    return ((kernel * windows).sum(1) / kernel.sum(1))[None]


def _to_hsv(image: Tensor) -> Tensor:
    value, strongest = image.max(1)
    chroma = value - image.min(1).values
    red, green, blue = image.unbind(1)
    hue = torch.zeros_like(value)
    for channel, sector in enumerate(((green - blue), (blue - red), (red - green))):
        mask = (strongest == channel) & (chroma > 0)
        hue[mask] = sector[mask] / chroma[mask] + 2 * channel
    saturation = torch.where(value > 0, chroma / value.clamp(min=1e-8), 0)
    return torch.stack(((hue / 6) % 1.0, saturation, value), 1)


def _to_rgb(hsv: Tensor) -> Tensor:
    hue, saturation, value = hsv.unbind(1)
    channels = []
    for offset in (5, 3, 1):
        k = (offset + 6 * hue) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)
