"""Colour statistics of two sets of images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_QUANTILES = np.linspace(0.005, 0.995, 100)


@dataclass(frozen=True)
class ColorStatistics:
    """Grey levels 0..255 unless said otherwise.

    Attributes:
        mean, spread: of each of red, green and blue over all pixels.
        saturation: mean over the pixels, 0..1.
        variety: how much the images' mean colours differ from one another (standard deviation, mean of channels).
        distance: between the pixels of both sets, mean of channels (1-Wasserstein): the levels that a pixel is off.
    """

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    saturation: float
    variety: float
    distance: float


def color_statistics(images: NDArray[np.uint8], reference: NDArray[np.uint8]) -> ColorStatistics:
    """Statistics of images [N, H, W, 3], and their distance from reference images [M, H', W', 3]."""
    mean, spread = (_rounded(values) for values in (images.mean((0, 1, 2)), images.std((0, 1, 2))))
    brightest, darkest = images.max(-1).astype(np.float64), images.min(-1)
    saturation = ((brightest - darkest) / np.maximum(brightest, 1)).mean()
    return ColorStatistics(
        mean=mean,
        spread=spread,
        saturation=float(saturation),
        variety=float(images.mean((1, 2)).std(0).mean()),
        distance=float(np.abs(_quantiles(images) - _quantiles(reference)).mean()),
    )


def _quantiles(images: NDArray[np.uint8]) -> np.ndarray:
    return np.quantile(images.reshape(-1, 3), _QUANTILES, axis=0)


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 2) for value in values)
    return red, green, blue
