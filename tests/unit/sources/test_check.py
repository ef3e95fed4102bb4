"""A check finds every bad row and names it; an exclusion manifest keeps the bad rows out of a packed dataset."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, UsageError
from dakpn.images import codec
from dakpn.images.codec import encode_image, encode_label
from dakpn.sources.check import CheckReport, CheckRequest, check_dataset
from dakpn.sources.exclusions import Exclusions
from dakpn.sources.pack import PackRequest, finish_pack, pack_dataset, pack_shard, plan_pack
from dakpn.sources.preset import load_preset
from tests import scenes

CAMVID = load_preset("camvid")


def check(uri: Path, **options) -> CheckReport:
    return check_dataset(CheckRequest(str(uri), **options))


def image(root: Path, index: int) -> Path:
    return root / f"images/train/{index:03d}.png"


def label(root: Path, index: int) -> Path:
    return root / f"labels/train/{index:03d}.png"


def empty_image(root: Path) -> Path:
    image(root, 1).write_bytes(b"")
    return image(root, 1)


def empty_label(root: Path) -> Path:
    label(root, 1).write_bytes(b"")
    return label(root, 1)


def truncated_image(root: Path) -> Path:
    scenes.truncate(image(root, 1))
    return image(root, 1)


def flipped_pixels(root: Path) -> Path:
    data = bytearray(image(root, 1).read_bytes())
    data[len(data) // 2] ^= 0xFF
    image(root, 1).write_bytes(data)
    return image(root, 1)


def text_for_image(root: Path) -> Path:
    image(root, 1).write_text("not an image")
    return image(root, 1)


def jpeg_label(root: Path) -> Path:
    label(root, 1).write_bytes(encode_image(np.zeros((12, 16, 3), np.uint8), "jpeg"))
    return label(root, 1)


def oversized_image(root: Path) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    image(root, 1).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    return image(root, 1)


def small_label(root: Path) -> Path:
    label(root, 1).write_bytes(encode_label(np.zeros((11, 16), np.uint8)))
    return label(root, 1)


def unknown_id(root: Path) -> Path:
    ids = np.zeros((12, 16), np.uint8)
    ids[0, :3] = 77
    label(root, 1).write_bytes(encode_label(ids))
    return label(root, 1)


def missing_label(root: Path) -> Path:
    label(root, 1).unlink()
    return image(root, 1)


def same_image(root: Path) -> Path:
    shutil.copy(image(root, 0), image(root, 1))
    return image(root, 1)


def same_key(root: Path) -> Path:
    other = image(root, 1).with_suffix(".jpg")
    other.write_bytes(encode_image(np.zeros((12, 16, 3), np.uint8), "jpeg"))
    return image(root, 1)


def bad_name(root: Path) -> Path:
    shutil.move(label(root, 1), label(root, 1).with_name("a\\b.png"))
    return image(root, 1).rename(image(root, 1).with_name("a\\b.png"))


DAMAGES = [
    (empty_image, "empty_file"),
    (empty_label, "empty_file"),
    (truncated_image, "damaged"),
    (flipped_pixels, "damaged"),
    (text_for_image, "wrong_format"),
    (jpeg_label, "wrong_format"),
    (oversized_image, "oversized"),
    (small_label, "size_mismatch"),
    (unknown_id, "unknown_label_id"),
    (missing_label, "missing_label"),
    (same_image, "duplicate_image"),
    (same_key, "duplicate_key"),
    (bad_name, "bad_name"),
]


def test_a_clean_dataset_has_no_problem_and_every_pixel_is_counted(make_dataset) -> None:
    root = make_dataset(7)
    report = check(root)
    assert report.problems == []
    assert (report.images, len(report.keys), report.labelled) == (7, 7, 7)
    assert report.sizes == {(12, 16): 7}
    ids = np.stack([codec.decode_label(label(root, i).read_bytes(), "label") for i in range(7)])
    assert report.label_ids == {i: int((ids == i).sum()) for i in range(12)}
    assert sum(share.share for share in report.classes()) == pytest.approx(1)


@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_each_kind_of_problem_is_found_and_its_file_named(make_dataset, damage: Callable, kind: str) -> None:
    root = make_dataset(3)
    path = damage(root)
    (problem,) = check(root).problems
    assert (problem.kind, problem.path) == (kind, str(path))
    assert str(path) in problem.message


def test_an_oversized_image_is_refused_by_its_header_alone(make_dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_dataset(2)
    oversized_image(root)
    decoded: list[bytes] = []
    read_pixels = codec.png.read_pixels
    monkeypatch.setattr(codec.png, "read_pixels", lambda chunks: decoded.append(b"") or read_pixels(chunks))
    assert [problem.kind for problem in check(root, labelled=False).problems] == ["oversized"]
    assert len(decoded) == 1  # the other image


def test_all_problems_are_collected_also_two_of_one_row(make_dataset) -> None:
    root = make_dataset(5)
    ids = np.full((11, 16), 77, np.uint8)
    label(root, 0).write_bytes(encode_label(ids))
    label(root, 2).unlink()
    image(root, 4).write_bytes(b"")
    report = check(root)
    assert {(p.kind, p.key) for p in report.problems} == {
        ("size_mismatch", "train/000"),
        ("unknown_label_id", "train/000"),
        ("missing_label", "train/002"),
        ("empty_file", "train/004"),
    }
    assert report.unknown_ids() == [(77, 176, 1)]


def test_a_sample_is_spread_repeats_with_its_seed_and_grows_to_all(make_dataset) -> None:
    root = make_dataset(20)
    keys = check(root, sample=4, seed=1).keys
    assert [int(key[-3:]) // 5 for key in keys] == [0, 1, 2, 3]
    assert check(root, sample=4, seed=1).keys == keys
    assert any(check(root, sample=4, seed=seed).keys != keys for seed in range(2, 6))
    assert len(check(root, sample=99).keys) == 20


def test_an_empty_folder_is_wrong_usage(make_dataset) -> None:
    with pytest.raises(UsageError, match="holds no image"):
        check(make_dataset(0))


def test_the_report_as_json(make_dataset) -> None:
    root = make_dataset(2)
    for i in range(2):
        label(root, i).write_bytes(encode_label(np.full((12, 16), i, np.uint8)))
    unknown_id(root)
    values = json.loads(json.dumps(check(root).to_dict()))
    assert values["schema_version"] == 1
    assert (values["ok"], values["images"], values["checked"], values["unlabelled"]) == (False, 2, 2, 0)
    assert values["sizes"] == [{"height": 12, "width": 16, "images": 2}]
    assert values["label_ids"] == {"0": 381, "77": 3}
    assert values["unknown_ids"] == [{"id": 77, "pixels": 3, "labels": 1}]
    assert values["classes"][0] == {"train_id": 0, "name": CAMVID.class_names[0], "pixels": 381, "share": 1.0}
    assert values["absent_classes"] == list(CAMVID.class_names[1:])
    assert values["problem_counts"] == {"unknown_label_id": 1}
    assert set(values["problems"][0]) == {"kind", "key", "path", "message"}


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_packed_dataset_is_checked_and_its_bad_rows_found(make_dataset, tmp_path: Path, kind: FormatName) -> None:
    root, out = make_dataset(6), tmp_path / "out"
    same_image(root)
    pack_dataset(root, str(out), CAMVID, "train", 2, format=kind)
    report = check(out)
    assert [(p.kind, p.key) for p in report.problems] == [("duplicate_image", "train/001")]
    assert (report.images, report.labelled, report.source) == (6, 6, kind)


def test_a_changed_file_of_a_packed_folder_does_not_hide_the_rows_behind_it(make_dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack_dataset(make_dataset(6), str(out), CAMVID, "train", 6, format="folder")
    image(out, 2).write_bytes(b"")
    report = check(out)
    assert [(p.kind, p.key) for p in report.problems] == [("damaged", "train/002")]
    assert len(report.keys) == 6


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_the_rows_of_a_shard_that_cannot_be_read_are_all_named(make_dataset, tmp_path: Path, kind: FormatName) -> None:
    out = tmp_path / "out"
    index = pack_dataset(make_dataset(6), str(out), CAMVID, "train", 3, format=kind)
    shard = Path(manifest.shard_uri(str(out), index.shards[1].name, kind))
    scenes.truncate(shard, 0.01)
    report = check(out)
    assert {p.path for p in report.problems} == {str(shard)}
    assert [p.key for p in report.problems] == ["train/003", "train/004", "train/005"]


def pack_excluding(source: Path, out: Path, exclude: Exclusions, preset=CAMVID) -> list[str]:
    plan = plan_pack(PackRequest(str(source), str(out), preset, exclude=exclude))
    index = finish_pack(plan, [pack_shard(job) for job in plan.todo])
    return [s.key for shard in index.shards for s in read_shard(manifest.shard_uri(str(out), shard.name))]


@pytest.mark.parametrize(("damage", "kind"), DAMAGES)
def test_what_is_excluded_is_not_packed_and_the_record_names_it(
    make_dataset, tmp_path: Path, damage: Callable, kind: str
) -> None:
    root, file = make_dataset(4), str(tmp_path / "bad.json")
    damage(root)
    check(root).exclusions().write(file)
    exclude = Exclusions.read(file)
    assert exclude.dataset == str(root)
    keys = pack_excluding(root, tmp_path / "out", exclude)
    assert keys == list(exclude.good) == ["train/000", "train/002", "train/003"]
    excluded = storage.read_json(str(tmp_path / "out/_dakpn/run.json"))["excluded"]
    assert {row["key"] for row in excluded} == {exclude.bad[0].key}
    assert all(row["reason"].startswith(kind) for row in excluded)
    assert len(excluded) == (2 if kind == "duplicate_key" else 1)
    assert check(tmp_path / "out").ok


def test_bad_rows_of_a_packed_dataset_are_left_out_even_with_their_whole_shard(make_dataset, tmp_path: Path) -> None:
    root, packed = make_dataset(6), tmp_path / "packed"
    same_image(root)
    index = pack_dataset(root, str(packed), CAMVID, "train", 2)
    scenes.truncate(Path(manifest.shard_uri(str(packed), index.shards[2].name)))
    exclude = check(packed).exclusions()
    assert pack_excluding(packed, tmp_path / "out", exclude, None) == ["train/000", "train/002", "train/003"]
    excluded = storage.read_json(str(tmp_path / "out/_dakpn/run.json"))["excluded"]
    assert [row["key"] for row in excluded] == ["train/001", "train/004", "train/005"]


def test_excluding_everything_or_with_a_file_of_another_kind_is_wrong_usage(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(1)
    image(root, 0).write_bytes(b"")
    with pytest.raises(UsageError, match="nothing is left"):
        pack_excluding(root, tmp_path / "out", check(root).exclusions())
    with pytest.raises(UsageError, match="not an exclusion manifest"):
        Exclusions.read(__file__)


def test_a_label_without_an_image_is_named_and_no_reason_to_leave_a_row_out(make_dataset, tmp_path: Path) -> None:
    root = make_dataset(3)
    image(root, 1).unlink()
    report = check(root)
    (problem,) = report.problems
    assert (problem.kind, problem.path) == ("missing_image", str(label(root, 1)))
    assert str(label(root, 1)) in problem.message
    assert set(report.exclusions().good) == {"train/000", "train/002"}
    assert pack_excluding(root, tmp_path / "out", report.exclusions()) == ["train/000", "train/002"]
    assert check(root, labelled=False).ok


def test_other_versions_of_a_label_are_not_taken_for_labels_without_an_image(tmp_path: Path) -> None:
    for folder in ("RGB", "GT/LABELS"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "RGB/0000001.png").write_bytes(encode_image(np.zeros((4, 4, 3), np.uint8), "png"))
    for name in ("0000001", "0000001_labelTrainIds", "0000002"):
        (tmp_path / f"GT/LABELS/{name}.png").write_bytes(encode_label(np.zeros((4, 4), np.uint8)))
    problems = check(tmp_path, preset=load_preset("synthia")).problems
    assert [(p.kind, p.key) for p in problems] == [("missing_image", "GT/LABELS/0000002.png")]


def test_a_mask_of_no_face_is_a_label_without_an_image(tmp_path: Path) -> None:
    masks = tmp_path / "CelebAMask-HQ-mask-anno/0"
    for folder in (tmp_path / "CelebA-HQ-img", masks):
        folder.mkdir(parents=True)
    (tmp_path / "CelebA-HQ-img/0.jpg").write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8), "jpeg"))
    for name in ("00000_skin", "00001_skin"):
        (masks / f"{name}.png").write_bytes(encode_label(np.full((4, 4), 255, np.uint8)))
    problems = check(tmp_path, preset=load_preset("celebamask_hq")).problems
    assert [(p.kind, p.path) for p in problems] == [("missing_image", str(masks / "00001_skin.png"))]


def test_a_gta5_label_of_another_size_than_its_image_is_named_with_both_sizes(tmp_path: Path) -> None:
    """Some pairs of the published dataset differ."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name, width in (("00001", 19), ("00002", 20)):
        (tmp_path / f"images/{name}.png").write_bytes(encode_image(np.full((10, 19, 3), width, np.uint8), "png"))
        palette = Image.fromarray(np.full((10, width), 7, np.uint8), "P")
        palette.putpalette([0, 0, 0] * 7 + [128, 64, 128] + [0, 0, 0] * 248)
        palette.save(tmp_path / f"labels/{name}.png")
    (problem,) = check(tmp_path, preset=load_preset("gta5")).problems
    assert (problem.kind, problem.key) == ("size_mismatch", "00002")
    assert "labels/00002.png: got a label of 20 x 10 pixels, expected 19 x 10 as its image" in problem.message


def test_labels_in_colors_are_named(tmp_path: Path, make_dataset) -> None:
    root = make_dataset(3)
    label(root, 1).write_bytes(encode_image(np.full((12, 16, 3), 128, np.uint8), "png"))
    (problem,) = check(root).problems
    assert (problem.kind, problem.path) == ("wrong_format", str(label(root, 1)))
    assert "channels rgb, expected a single channel of class ids; choose or write a preset" in problem.message


def test_labels_of_the_wrong_byte_order_are_told_by_their_ids(make_dataset) -> None:
    root = make_dataset(2)
    ids = codec.decode_label(label(root, 1).read_bytes(), "x").astype(np.uint16)
    label(root, 1).write_bytes(encode_label(ids))  # 16 bits are no fault
    assert check(root).ok
    label(root, 1).write_bytes(encode_label(ids.byteswap()))
    (problem,) = check(root).problems
    assert problem.kind == "unknown_label_id"
    assert "unknown label id 256 " in problem.message
    with pytest.raises(DataError, match="unknown label id 256 "):
        pack_dataset(root, str(root.parent / "out"), CAMVID, None, None)
