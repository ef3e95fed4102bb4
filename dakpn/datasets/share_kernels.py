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
    counts = np.zeros((classes + 1, width), np.int64)
    known = True
    top = 0
    for row in range(height):
        bottom = row_ends[row]
        for y in range(top, bottom):
            line = label[y]
            left = 0
            for column in range(width):
                right = column_ends[column]
                first = line[left]
                alike = True
                for x in range(left + 1, right):
                    alike &= line[x] == first
                if alike:  # as most cells are
                    known &= table[first] >= 0
                    counts[table[first], column] += right - left
                else:
                    for x in range(left, right):
                        found = table[line[x]]
                        known &= found >= 0
                        counts[found, column] += 1
                left = right
        for number in range(classes):
            counted, out = counts[number], shares[number, row]
            left = 0
            for column in range(width):
                if counted[column]:
                    pixels = (bottom - top) * (column_ends[column] - left)
                    out[column] = counted[column] * 255 // pixels
                    counted[column] = 0
                left = column_ends[column]
        counts[classes] = 0
        top = bottom
    return known
