import pytest

from dakpn.datasets.schema import key_from_path, validate_key, validate_path
from dakpn.errors import DataError


@pytest.mark.parametrize(
    "key", ["0001", "train/0001TP_006690", "a.b/c", "straße/图 1", "東京\u3000駅", "no\u00a0break"]
)
def test_a_plain_relative_path_is_a_key(key: str) -> None:
    assert validate_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        "./a",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\u2028b",
        "a\u202eb",
        "a.png",
        "a/b.c",
        "\udcff",
    ],
)
def test_anything_else_is_refused_with_the_key_in_the_message(key: str) -> None:
    with pytest.raises(DataError) as caught:
        validate_key(key)
    assert repr(key) in str(caught.value) or not key


def test_a_path_may_have_an_extension() -> None:
    assert validate_path("images/a.b.png") == "images/a.b.png"


def test_packing_takes_dots_out_of_the_name_but_not_of_the_folders() -> None:
    assert key_from_path("v1.0/frame.001.png") == "v1.0/frame_001"
