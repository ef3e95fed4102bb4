"""Class shares in one pass over a label, compiled; see `dakpn.datasets.class_shares`."""

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def count_shares(label, table, row_ends, column_ends, shares):
    """Count the classes of a label's cells, and tell whether all ids were known.

    Args:
        label: uint8 or uint16 [H, W].
        table: int16, id in the label -> class 0..C-1, C for none, -1 for an unknown id.
        row_ends: int64 [h], the row behind the last one of each cell; no cell is empty.
        column_ends: as `row_ends`, int64 [w].
        shares: uint8 [C, h, w], zeros; filled.
    """
    classes, height, width = shares.shape
    counts = np.zeros(classes + 1, np.int64)
    below = np.empty(label.shape[1], label.dtype)
    known = True
    top = 0
    for row in range(height):
        bottom = row_ends[row]
        line = label[top]
        _differences(label, top, bottom, below)
        left = 0
        for column in range(width):
            right = column_ends[column]
            first = line[left]
            mixed = below[left]
            for x in range(left + 1, right):
                mixed |= below[x] | (line[x] ^ first)
            if mixed:
                for y in range(top, bottom):
                    for x in range(left, right):
                        found = table[label[y, x]]
                        known &= found >= 0
                        counts[found] += 1
                pixels = (bottom - top) * (right - left)
                for number in range(classes):
                    if counts[number]:
                        shares[number, row, column] = counts[number] * 255 // pixels
                counts[:] = 0
            else:  # as most cells are
                found = table[first]
                known &= found >= 0
                if 0 <= found < classes:
                    shares[found, row, column] = 255
            left = right
        top = bottom
    return known


@_compiled
def _differences(label, top, bottom, below):
    """Whether a column's pixels in the rows [top, bottom) differ from its first: not 0 where one does."""
    line = label[top]
    below[:] = 0
    for y in range(top + 1, bottom):
        other = label[y]
        for x in range(len(below)):
            below[x] |= other[x] ^ line[x]
