from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dakpn.errors import FormatError, UsageError
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from tests.paths import SHARED_DATA


def test_camvid_has_11_classes_and_void() -> None:
    space = load_preset("camvid").label_space
    assert space.num_classes == 11
    assert space.class_names[3] == "road"
    assert space.to_train_ids(np.arange(12, dtype=np.uint8)[None], "x").tolist() == [[*range(11), 255]]


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown dataset preset '\.\./x'; expected one of: .*camvid"):
        load_preset("../x")


def test_pairs_are_sorted_and_keyed_by_the_path_below_images(make_dataset) -> None:
    root = make_dataset(3)
    pairs = load_preset("camvid").find_pairs(root, "train")
    assert [pair.key for pair in pairs] == ["train/000", "train/001", "train/002"]
    assert pairs[0].image_path == root / "images/train/000.png"
    assert pairs[0].label_path == root / "labels/train/000.png"
    assert load_preset("camvid").find_pairs(root, None) == pairs


def test_labels_can_be_absent_left_out_or_required(make_dataset) -> None:
    camvid = load_preset("camvid")
    bare = make_dataset(2, labelled=False, name="bare")
    assert all(pair.label_path is None for pair in camvid.find_pairs(bare, "train"))
    assert all(pair.label_path is None for pair in camvid.find_pairs(make_dataset(2), "train", labelled=False))
    with pytest.raises(UsageError, match=r"bare/labels/train does not exist; expected labels, which were asked for"):
        camvid.find_pairs(bare, "train", labelled=True)


def test_linked_folders_are_followed_and_hidden_files_left_out(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(2, labelled=False)
    (root / "images/train").rename(tmp_path / "elsewhere")
    (root / "images/train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/._000.png").write_bytes(b"")
    assert len(load_preset("camvid").find_pairs(root, None)) == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere does not exist; expected the dataset there: check the path"):
        load_preset("camvid").find_pairs(tmp_path / "nowhere", None)
    with pytest.raises(UsageError, match=r"/images does not exist; expected images of the camvid layout there"):
        load_preset("camvid").find_pairs(tmp_path, None)


def test_a_missing_split_lists_those_there_are(make_dataset) -> None:
    with pytest.raises(UsageError, match=r"images/test does not exist; .*\(there are: train\)"):
        load_preset("camvid").find_pairs(make_dataset(1), "test")
    with pytest.raises(UsageError, match=r"got the split '\.\.'"):
        load_preset("camvid").find_pairs(make_dataset(1, name="other"), "..")


def test_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"images holds no image; expected files that end in \.png, \.jpg"):
        load_preset("camvid").find_pairs(tmp_path, None)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\udcffb"])
def test_a_name_that_can_be_no_key_is_named_and_not_passed_over(make_dataset, name: str) -> None:
    root = make_dataset(1, labelled=False)
    (root / f"images/train/{name}.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"unprintable character.*: rename the file"):
        load_preset("camvid").find_pairs(root, None)


def test_an_image_of_a_format_that_is_not_read_is_named_and_not_passed_over(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(1, labelled=False)
    Image.new("RGB", (8, 8)).save(root / "images/train/other.tiff")
    with pytest.raises(FormatError, match=r"other\.tiff: got a file that begins with b'II.*expected a PNG or JPEG"):
        pack_dataset(str(root), str(tmp_path / "out"), load_preset("camvid"), None, 8, labelled=False)


def test_an_image_without_a_label_is_named(make_dataset) -> None:
    root = make_dataset(3)
    (root / "labels/train/001.png").unlink()
    with pytest.raises(UsageError, match=r"images/train/001\.png has no label; expected .*labels/train/001\.png: add"):
        load_preset("camvid").find_pairs(root, "train")


def test_two_images_with_one_key_are_an_error(make_dataset) -> None:
    root = make_dataset(1, labelled=False)
    (root / "images/train/000.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"000\.jpg and .*000\.png would both get the key 'train/000'"):
        load_preset("camvid").find_pairs(root, None)


@pytest.mark.skipif(SHARED_DATA is None, reason="the real CamVid images are not on this machine")
def test_the_real_camvid_is_found() -> None:
    camvid = load_preset("camvid")
    assert len(camvid.find_pairs(SHARED_DATA / "camvid", "train", labelled=True)) == 367
    assert len(camvid.find_pairs(SHARED_DATA / "camvid", None)) == 468
