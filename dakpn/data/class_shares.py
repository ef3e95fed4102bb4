"""A label at low resolution: how much of each low-res pixel belongs to each class."""

import numpy as np
from numpy.typing import NDArray


def class_shares(train_ids: NDArray[np.uint8], num_classes: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shares of the classes in the cells of a grid.

    A pixel counts for the one cell that holds its centre. A cell without a pixel of its own, in a grid finer than the
    image, takes the nearest.

    Args:
        train_ids: uint8 [H, W]; ids from `num_classes` on belong to no class.
        num_classes: C.
        size: (h, w) of the grid.

    Returns:
        uint8 [C, h, w], 255 where the whole cell is of the class. Rounded down, so that a cell sums to at most 255.
    """
    repeats = [-(-cells // pixels) for cells, pixels in zip(size, train_ids.shape, strict=True)]
    if max(repeats) > 1:
        train_ids = train_ids.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)
    rows, columns = (_cells(pixels, cells) for pixels, cells in zip(train_ids.shape, size, strict=True))
    cell = (rows[:, None] * np.int32(size[1]) + columns[None, :]) * np.int32(num_classes + 1)
    cell += np.minimum(train_ids, num_classes)
    counts = np.bincount(cell.ravel(), minlength=size[0] * size[1] * (num_classes + 1))
    counts = counts.reshape(*size, num_classes + 1).transpose(2, 0, 1)
    pixels_in_cell = np.bincount(rows)[:, None] * np.bincount(columns)[None, :]
    return (counts[:num_classes] * 255 // pixels_in_cell).astype(np.uint8)


def _cells(pixels: int, cells: int) -> NDArray[np.int32]:
    """The cell of each pixel along one axis."""
    return ((np.arange(pixels) * 2 + 1) * cells // (2 * pixels)).astype(np.int32)
