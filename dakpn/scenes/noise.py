"""Smooth random textures, in image space and anchored to surfaces."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.floating]

_TILE = 256


def value_noise(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> FloatArray:
    """Smooth noise [H, W] in about -0.5..0.5 whose blobs measure `cell` pixels."""
    height, width = shape
    coarse = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth) - np.float32(0.5)


class NoiseTile:
    """A square of noise that surfaces look up by their own coordinates, so that it follows perspective."""

    def __init__(self, rng: np.random.Generator) -> None:
        shape = (_TILE, _TILE)
        self._values = (
            0.5 * value_noise(rng, shape, 24) + 0.3 * value_noise(rng, shape, 8) + 0.2 * value_noise(rng, shape, 3)
        )

    def sample(self, u: FloatArray, v: FloatArray, cells_per_metre: float) -> FloatArray:
        """Noise in about -0.5..0.5 at surface coordinates in meters (broadcast)."""
        columns = (u * cells_per_metre).astype(np.int32) & (_TILE - 1)
        rows = (v * cells_per_metre).astype(np.int32) & (_TILE - 1)
        return self._values[rows, columns]
