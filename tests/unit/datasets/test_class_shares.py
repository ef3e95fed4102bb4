"""Labels at low resolution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dakpn.datasets.class_shares import _counted, class_shares, label_shares
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import DataError


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


@given(st.tuples(SIDE, SIDE), st.tuples(CELLS, CELLS), st.integers(1, 19), st.booleans(), st.integers(0, 99))
def test_the_compiled_form_counts_as_the_definition_does(size, grid, classes, flat, seed) -> None:
    label = np.random.default_rng(seed).integers(0, classes + 2, size).astype(np.uint8)
    label[label > classes] = 255
    if flat:
        label[:, : size[1] // 2] = label[0, 0]
    assert np.array_equal(class_shares(label, classes, grid), _counted(label, classes, grid))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grid", [(3, 4), (20, 30)])
def test_a_label_of_a_file_has_the_shares_of_its_train_ids(dtype: type, grid: tuple[int, int]) -> None:
    space = LabelSpace("tiny", ("road", "sky"), class_map={7: 0, 11: 1, 200: 255, 4: 1})
    label = np.random.default_rng(0).choice(np.array([7, 11, 200, 4], dtype), (10, 12))
    expected = class_shares(space.to_train_ids(label, "a.png"), 2, grid)
    assert np.array_equal(label_shares(label, space, grid, "a.png"), expected)
    label[3, 5] = 9
    with pytest.raises(DataError, match=r"a.png: got unknown label id 9 \(1 pixels\); tiny knows 4, 7, 11, 200"):
        label_shares(label, space, grid, "a.png")
