"""Path patterns: which files are images, which split they are of, and where their labels lie."""

from pathlib import Path

import pytest

from dakpn.sources.layout import Layout


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(layout: Layout, root: Path, split: str | None = None) -> set[tuple[str, str, str]]:
    return {
        (image.split, image.name, str((layout.label_path(root, image) or root).relative_to(root)))
        for image in layout.find_images(root, split)
    }


def test_a_split_before_the_name_can_be_absent(tmp_path: Path) -> None:
    layout = Layout(images="i/{split}/{name}.png", labels="l/{split}/{name}.png")
    root = touch(tmp_path, "i/0.png", "i/train/1.png", "i/train/city/2.png", "l/train/1.png")
    assert found(layout, root) == {
        ("", "0", "l/0.png"),
        ("train", "1", "l/train/1.png"),
        ("train", "city/2", "l/train/city/2.png"),
    }
    assert found(layout, root, "train") == {
        ("train", "1", "l/train/1.png"),
        ("train", "city/2", "l/train/city/2.png"),
    }
    assert layout.find_splits(root) == ["train"]


def test_a_split_can_stand_before_other_folders(tmp_path: Path) -> None:
    layout = Layout(images="{split}/img/{name}.*", labels="{split}/gt/{name}_id.png")
    root = touch(tmp_path, "train/img/a.JPEG", "train/gt/a_id.png", "val/img/b.png", "docs/c.png", "img/d.png")
    assert layout.find_splits(root) == ["train", "val"]
    assert found(layout, root) == {("train", "a", "train/gt/a_id.png"), ("val", "b", "val/gt/b_id.png")}
    assert found(layout, root, "val") == {("val", "b", "val/gt/b_id.png")}
    assert layout.has_labels(root, "train")
    assert not layout.has_labels(root, "val")


def test_labels_of_all_splits_can_lie_in_one_folder(tmp_path: Path) -> None:
    layout = Layout(images="i/{split}/{name}.png", labels="l/{name}.png")
    assert found(layout, touch(tmp_path, "i/val/1.png", "l/1.png")) == {("val", "1", "l/1.png")}


@pytest.mark.parametrize(
    ("images", "labels", "files"),
    [
        ("{name}.png", "{name}_seg.png", ["a.png", "a_seg.png"]),
        ("{name}_rgb.png", "{name}.png", ["a_rgb.png", "a.png"]),
        ("{name}.*", "masks/{name}.png", ["a.png", "masks/a.png"]),
        ("{split}/{name}.*", "masks/{name}.png", ["a.png", "masks/a.png"]),
    ],
)
def test_a_label_is_no_image(tmp_path: Path, images: str, labels: str, files: list[str]) -> None:
    layout = Layout(images=images, labels=labels)
    root = touch(tmp_path, *files)
    assert found(layout, root) == {("", "a", files[1])}
    assert layout.has_labels(root, None)
    (root / files[1]).unlink()
    assert not layout.has_labels(root, None) or "/" in files[1]


def test_hidden_files_and_folders_are_left_out_and_links_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.png", "._1.png", ".cache/2.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    assert found(Layout(images="{name}.png"), tmp_path / "data") == {("", "linked/1", ".")}


def test_characters_of_a_pattern_stand_for_themselves(tmp_path: Path) -> None:
    layout = Layout(images="a+b/{name}_(1).png")
    root = touch(tmp_path, "a+b/x_(1).PNG", "aab/x_1.png", "a+b/x_(1)_png")
    assert found(layout, root) == {("", "x", ".")}
