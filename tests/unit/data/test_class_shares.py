"""Labels at low resolution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dakpn.data.class_shares import class_shares


def test_a_cell_holds_the_shares_of_its_pixels():
    label = np.array([[0, 0, 1, 1], [0, 2, 1, 1], [2, 2, 2, 255], [2, 2, 255, 255]], np.uint8)
    shares = class_shares(label, 3, (2, 2))
    assert shares.dtype == np.uint8
    assert shares[:, 0, 0].tolist() == [191, 0, 63]
    assert shares[:, 0, 1].tolist() == [0, 255, 0]
    assert shares[:, 1, 0].tolist() == [0, 0, 255]
    assert shares[:, 1, 1].tolist() == [0, 0, 63]


SIDE = st.integers(1, 40)
CELLS = st.integers(1, 20)


@given(st.tuples(SIDE, SIDE), st.tuples(CELLS, CELLS), st.integers(1, 19), st.integers(0, 99))
def test_any_size_on_any_grid(size, grid, classes, seed):
    label = np.random.default_rng(seed).integers(0, classes, size).astype(np.uint8)
    shares = class_shares(label, classes, grid).astype(int)
    assert shares.shape == (classes, *grid)
    assert shares.sum(0).max() <= 255
    assert shares.sum(0).min() > 255 - classes  # rounded down, and no cell is left empty


@pytest.mark.parametrize("size", [(6, 8), (3, 4), (12, 16)])
def test_a_class_of_its_own_is_whole(size):
    label = np.zeros((6, 8), np.uint8)
    label[:, 4:] = 1
    shares = class_shares(label, 2, size)
    half = size[1] // 2
    assert (shares[0, :, :half] == 255).all()
    assert (shares[1, :, half:] == 255).all()
    assert not shares[0, :, half:].any()
