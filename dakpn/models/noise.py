"""Standard normal noise that is a pure function of (image key, draw, pixel): retries, threads and tiles agree."""

import functools
import hashlib
from statistics import NormalDist

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
"""Constants of SplitMix64."""
_QUANTILES = 4096
BITS_PER_CHANNEL = 21
"""Three channels share the 64 bits of one hash."""


def noise_seed(key: str, draw: int = 0) -> int:
    """64-bit seed of an image's noise, from its key and the number of the draw."""
    digest = hashlib.sha256(f"{draw}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@functools.cache
def normal_quantiles() -> np.ndarray:
    """float32 [4096]: midpoint quantiles of the normal distribution, scaled to unit variance."""
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)])
    return (quantiles / quantiles.std()).astype(np.float32)


def keyed_noise(seed: int, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Noise of an image, or of a window of it.

    A pixel's three values come from one SplitMix64 hash of (seed, pixel number), 12 bits each, through a table of
    quantiles. The same pixel has the same value in every window.

    Args:
        seed: from `noise_seed`.
        size: (H, W) of the whole image.
        window: (top, left, height, width) within it; the whole image by default.

    Returns:
        float32 [3, height, width], mean 0 and variance 1, at most 3.7 in magnitude.
    """
    top, left, height, width = window or (0, 0, *size)
    rows = np.arange(top, top + height, dtype=np.uint64)[:, None]
    columns = np.arange(left, left + width, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + (rows * np.uint64(size[1]) + columns + np.uint64(1)) * GOLDEN
        state = (state ^ (state >> np.uint64(30))) * MIX_1
        state = (state ^ (state >> np.uint64(27))) * MIX_2
    state ^= state >> np.uint64(31)
    indices = [(state >> np.uint64(BITS_PER_CHANNEL * c)) & np.uint64(_QUANTILES - 1) for c in range(3)]
    return normal_quantiles()[np.stack(indices).astype(np.intp)]
