"""Averages over blocks of pixels, compiled: the bytes of Pillow's `reduce`, without its copy of the whole image."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled = njit(cache=True, nogil=True, error_model="numpy")


def block_means(image: NDArray[np.uint8], factors: tuple[int, int]) -> NDArray[np.uint8]:
    """Average blocks of pixels; those at the right and lower edges may be smaller.

    Args:
        image: [H, W, 3].
        factors: (rows, columns) of a block, 1 or more, with at most 256 pixels, whose sum has 16 bits.

    Returns:
        [ceil(H / rows), ceil(W / columns), 3].

    Source: `ImagingReduce` of Pillow: sums times rounded reciprocals.
    """
    height, width, channels = image.shape
    rows, columns = (-(-pixels // factor) for pixels, factor in zip((height, width), factors, strict=True))
    # As Pillow has them: 2**24 divided by the number of pixels, in single precision. That of 0 is not used.
    pixels = np.maximum(np.arange(factors[0] * factors[1] + 1), 1).astype(np.float32)
    reciprocals = (np.float32(2**32) / (256 * pixels)).astype(np.uint32)
    means = np.empty((rows, columns * channels), np.uint8)
    lines = np.ascontiguousarray(image).reshape(height, width * channels)
    _average(lines, *factors, reciprocals, means)
    return means.reshape(rows, columns, channels)


@_compiled
def _average(lines, rows, columns, reciprocals, out):
    height, values = lines.shape
    whole = values // 3 // columns
    of_column, of_block = np.empty(values, np.uint16), np.empty(values, np.uint16)
    for row in range(len(out)):
        top, bottom = row * rows, min((row + 1) * rows, height)
        line = lines[top]
        for x in range(values):
            of_column[x] = line[x]
        for y in range(top + 1, bottom):
            line = lines[y]
            for x in range(values):
                of_column[x] += line[x]
        # Of the block that would begin at each value: more sums than are needed, but many at a time.
        begins = 3 * columns * (whole - 1) + 3
        for x in range(begins):
            of_block[x] = of_column[x]
        for k in range(3, 3 * columns, 3):
            later = of_column[k:]
            for x in range(begins):
                of_block[x] += later[x]
        _divide(of_block, 3 * columns, whole, (bottom - top) * columns, reciprocals, out[row])
        if 3 * columns * whole < values:
            for k in range(3):
                of_block[k] = 0
                for x in range(3 * columns * whole + k, values, 3):
                    of_block[k] += of_column[x]
            pixels = (bottom - top) * (values // 3 - columns * whole)
            _divide(of_block, 3, 1, pixels, reciprocals, out[row, 3 * whole :])


@_compiled
def _divide(sums, step, blocks, pixels, reciprocals, out):
    half, reciprocal = np.uint32(pixels // 2), reciprocals[pixels]
    for x in range(step * (blocks - 1) + 3):
        sums[x] = ((np.uint32(sums[x]) + half) * reciprocal) >> np.uint32(24)
    for block in range(blocks):
        for k in range(3):
            out[3 * block + k] = sums[step * block + k]
