"""A label at low resolution: how much of each low-res pixel belongs to each class."""

from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dakpn.datasets.label_space import LabelSpace

Label = NDArray[np.uint8] | NDArray[np.uint16]


def class_shares(train_ids: NDArray[np.uint8], num_classes: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shares of the classes in the cells of a grid.

    A pixel counts for the one cell that holds its center. A cell without a pixel of its own, in a grid finer than the
    image, takes the nearest.

    Args:
        train_ids: uint8 [H, W]; ids from `num_classes` on belong to no class.
        num_classes: C.
        size: (h, w) of the grid.

    Returns:
        uint8 [C, h, w], 255 where the whole cell is of the class. Rounded down, so that a cell sums to at most 255.
    """
    if _kernels() is None:
        return _counted(train_ids, num_classes, size)
    shares, _ = _shares(train_ids, np.minimum(np.arange(256), num_classes).astype(np.int16), num_classes, size)
    return shares


def label_shares(label: Label, space: LabelSpace, size: tuple[int, int], origin: str) -> NDArray[np.uint8]:
    """`class_shares` of a label as its file has it, uint8 or uint16 [H, W], without its train ids.

    Raises:
        DataError: the label holds an id that the class map does not know; `origin` names the label.
    """
    if _kernels() is not None:
        shares, known = _shares(label, space.table(label.dtype), space.num_classes, size)
        if known:
            return shares
    return class_shares(space.to_train_ids(label, origin), space.num_classes, size)


def _shares(
    label: Label, table: NDArray[np.int16], num_classes: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], bool]:
    kernels = _kernels()
    assert kernels is not None  # noqa: S101 - both callers have looked
    repeated = np.ascontiguousarray(_repeated(label, size))
    ends = (_ends(pixels, cells) for pixels, cells in zip(repeated.shape, size, strict=True))
    shares = np.zeros((num_classes, *size), np.uint8)
    known = kernels.count_shares(repeated, np.minimum(table, num_classes), *ends, shares)
    return shares, known


def _counted(train_ids: NDArray[np.uint8], num_classes: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The shares in plain numpy, where there is no compiler."""
    repeated = _repeated(train_ids, size)
    rows, columns = (cells_of_pixels(pixels, cells) for pixels, cells in zip(repeated.shape, size, strict=True))
    cell = (rows[:, None] * np.int32(size[1]) + columns[None, :]) * np.int32(num_classes + 1)
    cell += np.minimum(repeated, num_classes)
    counts = np.bincount(cell.ravel(), minlength=size[0] * size[1] * (num_classes + 1))
    counts = counts.reshape(*size, num_classes + 1).transpose(2, 0, 1)
    pixels_in_cell = np.bincount(rows)[:, None] * np.bincount(columns)[None, :]
    return (counts[:num_classes] * 255 // pixels_in_cell).astype(np.uint8)


def _repeated(label: Label, size: tuple[int, int]) -> Label:
    """The label with rows and columns repeated, where the grid is finer, until no cell is without a pixel."""
    rows, columns = (-(-cells // pixels) for cells, pixels in zip(size, label.shape, strict=True))
    return label if rows == columns == 1 else label.repeat(rows, axis=0).repeat(columns, axis=1)


@cache
def _ends(pixels: int, cells: int) -> NDArray[np.int64]:
    """The pixel behind the last one of each cell along one axis."""
    return np.cumsum(np.bincount(cells_of_pixels(pixels, cells), minlength=cells))


def cells_of_pixels(pixels: int, cells: int) -> NDArray[np.int32]:
    """The cell of each pixel along one axis, int32."""
    return ((np.arange(pixels) * 2 + 1) * cells // (2 * pixels)).astype(np.int32)


@cache
def _kernels() -> ModuleType | None:
    """The compiled form, imported where it is first asked for, as numba takes a while; None where it has no build."""
    try:
        from dakpn.datasets import share_kernels
    except ImportError:
        return None
    return share_kernels
