import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import DataError, UsageError

SPACE = LabelSpace("toy", ("road", "car"), 255, {7: 0, 26: 1, 0: 255})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_ids_become_train_ids(dtype: type) -> None:
    train = SPACE.to_train_ids(np.array([[0, 7], [26, 7]], dtype), "x")
    assert train.tolist() == [[255, 0], [1, 0]]
    assert train.dtype == np.uint8


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 9), (np.uint16, 999)])
def test_an_unknown_id_is_named_with_its_count_and_the_known_ids(dtype: type, value: int) -> None:
    with pytest.raises(DataError, match=rf"a\.png: got unknown label id {value} \(2 pixels\); toy knows 0, 7, 26: "):
        SPACE.to_train_ids(np.array([[value, 7], [26, value]], dtype), "a.png")


def test_a_label_space_survives_json_and_pickle() -> None:
    assert LabelSpace.from_dict(json.loads(json.dumps(SPACE.to_dict()))) == SPACE
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE  # noqa: S301
    with pytest.raises(DataError, match="damaged label space"):
        LabelSpace.from_dict({"dataset": "toy"})
    with pytest.raises(DataError, match="damaged label space"):
        LabelSpace.from_dict({**SPACE.to_dict(), "class_colors": [[1, 2]]})


def test_colors_survive_json_and_are_no_part_of_what_is_compared() -> None:
    colored = replace(SPACE, class_colors=((1, 2, 3), (4, 5, 6)))
    assert LabelSpace.from_dict(json.loads(json.dumps(colored.to_dict()))).class_colors == ((1, 2, 3), (4, 5, 6))
    assert colored == SPACE
    assert hash(colored) == hash(SPACE)


def test_a_label_space_of_older_versions_has_no_colors() -> None:
    older = SPACE.to_dict()
    del older["class_colors"]
    assert LabelSpace.from_dict(older) == SPACE
    assert LabelSpace.from_dict(older).class_colors == ()


@pytest.mark.parametrize("colors", [((1, 2, 3),), ((1, 2, 3), (4, 5, 256)), ((1, 2, 3), (4, -5, 6))])
def test_colors_that_do_not_fit_are_refused(colors: tuple[tuple[int, int, int], ...]) -> None:
    with pytest.raises(UsageError, match=r"toy: .*class_colors"):
        LabelSpace("toy", ("road", "car"), class_colors=colors)


def test_without_a_class_map_train_ids_stand_for_themselves() -> None:
    assert LabelSpace("toy", ("a", "b")).class_map == {0: 0, 1: 1, 255: 255}


@pytest.mark.parametrize(
    ("names", "ignore", "ids"), [((), 255, {}), (("a",), 0, {}), (("a",), 255, {3: 1}), (("a",), 256, {})]
)
def test_ids_out_of_range_are_refused(names: tuple[str, ...], ignore: int, ids: dict[int, int]) -> None:
    with pytest.raises(UsageError, match="toy: "):
        LabelSpace("toy", names, ignore, ids)
