"""Datasets of other tools as a source: Parquet in Hugging Face's image layout, and webdataset archives."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dakpn.datasets import manifest
from dakpn.datasets.formats.foreign import read_foreign, survey_foreign
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, UsageError
from dakpn.images.codec import encode_image, encode_label
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset

CAMVID = load_preset("camvid")
IMAGE = encode_image(np.full((3, 4, 3), 9, np.uint8), "png")
PHOTO = encode_image(np.full((3, 4, 3), 9, np.uint8), "jpeg")
LABEL = encode_label(np.full((3, 4), 5, np.uint8))
ENCODED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(path: Path, **columns: Any) -> str:
    kinds = {"image": ENCODED, "label": ENCODED, "mask": ENCODED, "annotation": ENCODED}
    arrays = {name: pa.array(values, kinds.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path)
    return str(path)


def write_tar(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def encoded(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def samples_of(uri: Path) -> list[Sample]:
    index = manifest.read_index(str(uri))
    return [s for shard in index.shards for s in read_shard(manifest.shard_uri(str(uri), shard.name, index.format))]


def test_keys_come_from_a_column_a_path_or_the_row(tmp_path: Path) -> None:
    image = [encoded(IMAGE, "f/a.b.png"), encoded(PHOTO, "c.jpg")]
    first = read_foreign(write_parquet(tmp_path / "k.parquet", key=["x", "y"], image=image))
    assert [(s.key, s.image_path) for s in first] == [("x", "images/x.png"), ("y", "images/y.jpg")]
    second = read_foreign(write_parquet(tmp_path / "p.parquet", image=image, labels=[3, 4]))
    assert [(s.key, s.label) for s in second] == [("f/a_b", None), ("c", None)]  # a class number is no label image
    image = [encoded(IMAGE, "/home/me/d.png"), encoded(IMAGE, "C:\\data\\e.png")]
    assert [s.key for s in read_foreign(write_parquet(tmp_path / "a.parquet", image=image))] == ["d", "e"]
    third = read_foreign(write_parquet(tmp_path / "r-0.parquet", image=[encoded(IMAGE)] * 2, mask=[encoded(LABEL)] * 2))
    assert [(s.key, s.label_path) for s in third] == [
        ("r-0/00000000", "labels/r-0/00000000.png"),
        ("r-0/00000001", "labels/r-0/00000001.png"),
    ]
    plain = pa.table({"image": pa.array([IMAGE], pa.binary()), "segmentation": pa.array([LABEL], pa.binary())})
    pq.write_table(plain, tmp_path / "b.parquet")
    assert [(s.image, s.label) for s in read_foreign(str(tmp_path / "b.parquet"))] == [(IMAGE, LABEL)]


@pytest.mark.parametrize(
    ("members", "image", "label"),
    [
        ({"a.png": IMAGE}, IMAGE, None),
        ({"a.JPG": PHOTO}, PHOTO, None),
        ({"a.jpg": PHOTO, "a.png": LABEL, "a.json": b"not json"}, PHOTO, LABEL),
        ({"a.cls": b"3", "a.png": IMAGE, "a.seg.png": LABEL}, IMAGE, LABEL),
        ({"a.image.jpeg": PHOTO, "a.mask.png": LABEL, "a.pkl": b"\x80"}, PHOTO, LABEL),
    ],
    ids=["image", "capitals", "label of the same name", "named label", "named both"],
)
def test_archives_of_others_are_understood(
    members: dict[str, bytes], image: bytes, label: bytes | None, tmp_path: Path
) -> None:
    uri = write_tar(tmp_path / "x.tar", members)
    assert [(s.key, s.image, s.label) for s in read_foreign(uri)] == [("a", image, label)]
    assert survey_foreign(uri).rows == 1


def test_parquet_files_become_a_dataset(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for part in ("a", "b"):
        columns = {name: [encoded(data, "same.png")] * 5 for name, data in (("image", IMAGE), ("annotation", LABEL))}
        write_parquet(source / f"{part}.parquet", key=[f"{part}{i}" for i in range(5)], **columns)
    index = pack_dataset(source, str(tmp_path / "out"), CAMVID, None, None, None, "folder")
    assert [shard.rows for shard in index.shards] == [5, 5]
    assert index.labelled
    assert [s.label for s in samples_of(tmp_path / "out")] == [LABEL] * 10
    assert (tmp_path / "out/labels/a0.png").read_bytes() == LABEL
    again = pack_dataset(source, str(tmp_path / "cut"), CAMVID, None, 4, False, "webdataset")
    assert [shard.rows for shard in again.shards] == [4, 4, 2]
    assert not again.labelled


def test_archives_become_a_dataset(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for part in range(2):
        members = {f"{part}{i}.{end}": data for i in range(3) for end, data in (("jpg", PHOTO), ("png", LABEL))}
        write_tar(source / f"{part:06d}.tar", members)
    index = pack_dataset(source, str(tmp_path / "out"), CAMVID, None, 4)
    assert [shard.rows for shard in index.shards] == [4, 2]
    assert [(s.key, s.image, s.label) for s in samples_of(tmp_path / "out")] == [
        (f"{part}{i}", PHOTO, LABEL) for part in range(2) for i in range(3)
    ]


def test_a_key_in_two_files_is_found_before_the_dataset_counts_as_finished(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for part in ("a", "b"):
        write_tar(source / f"{part}.tar", {"000.png": IMAGE})
    with pytest.raises(DataError, match="the key '000' is in the shards train-00000-of-00002 and train-00001-of-00002"):
        pack_dataset(source, str(out), None, None, None)
    assert not manifest.is_complete(str(out))


def test_labels_need_classes_and_must_be_there_in_every_row(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": IMAGE, "a.seg.png": LABEL})
    with pytest.raises(UsageError, match="has labels, and nothing says what their ids mean; name the preset"):
        pack_dataset(tmp_path, str(tmp_path / "out"), None, None, None)
    write_tar(tmp_path / "y.tar", {"b.png": IMAGE, "c.png": IMAGE})
    words = r"1 row has a label \(such as a\) and 2 have none \(such as b, c\); expected labels in all rows or in none"
    for labelled in (None, True):  # whichever comes first
        with pytest.raises(UsageError, match=words):
            pack_dataset(tmp_path, str(tmp_path / "out"), CAMVID, None, None, labelled)
    assert pack_dataset(tmp_path, str(tmp_path / "out"), CAMVID, None, None, labelled=False).rows == 3
    with pytest.raises(UsageError, match="has 2 files and no splits, got --split train; leave it out"):
        pack_dataset(tmp_path, str(tmp_path / "out"), CAMVID, "train", None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixels": [1]}, "has the columns pixels: int64; expected a column image"),
        ({"image": [encoded(None, "a.png")]}, "has no image (or only the path of one)"),
        ({"image": [encoded(IMAGE, "../a.png")]}, "'../a' is not a plain relative path"),
        ({"image": [encoded(IMAGE, "/")]}, "an empty name was found"),
        ({"key": ["../a"], "image": [encoded(IMAGE)]}, "'../a' is not a plain relative path"),
        ({"key": ["a", "a"], "image": [encoded(IMAGE)] * 2}, "holds the key 'a' twice"),
        ({"key": ["x", None], "image": [encoded(IMAGE)] * 2}, "row 1 has no key"),
        ({"image": [encoded(b"<svg/>", "a.svg")]}, "begins with b'<svg/>', expected a PNG or JPEG"),
    ],
)
def test_bad_parquet_is_a_data_error(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    uri = write_parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(DataError) as caught:
        list(read_foreign(uri))
    assert uri in str(caught.value)
    assert message in str(caught.value)


def test_an_image_that_hides_in_a_label_column_is_checked(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.jpg": PHOTO, "a.png": IMAGE})
    with pytest.raises(DataError, match=r"x\.tar: a: label: got a label with channels rgb"):
        pack_dataset(tmp_path, str(tmp_path / "out"), CAMVID, None, None)


@pytest.mark.parametrize("name", ["frame.0001.jpg", "a.0001.png", "b.avif", "c/d.tiff"])
def test_an_archive_whose_images_would_be_lost_is_refused_with_their_names(tmp_path: Path, name: str) -> None:
    uri = write_tar(tmp_path / "a.tar", {"a.png": IMAGE, name: PHOTO, f"x{name}": PHOTO})
    words = rf"2 members look like images and have names that are not taken, such as '{name}', 'x{name}'; expected KEY"
    with pytest.raises(DataError, match=words):
        survey_foreign(uri)


def test_what_an_archive_holds_beside_a_row_is_counted(tmp_path: Path) -> None:
    members = {"a.jpg": PHOTO, "a.labels.png": LABEL, "a.json": b"{}", "._a.jpg": b"", "b.jpg": PHOTO, "mean.npy": b""}
    uri = write_tar(tmp_path / "a.tar", members)
    assert [sample.key for sample in read_foreign(uri)] == ["a", "b"]
    survey = survey_foreign(uri)
    assert survey.unused == ["a.labels.png"]
    left_out = {reason: (found.first, found.data) for reason, found in survey.inventory.left_out.items()}
    assert left_out == {
        "images and labels of other names": (["a.labels.png"], True),
        "arrays and archives among the members": (["mean.npy"], True),
        "hidden files": (["._a.jpg"], False),
        "other members": (["a.json"], False),
    }


def test_a_source_without_rows_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in/a.tar", {"a.json": b"{}"})
    with pytest.raises(DataError, match=r"in leaves no row to be packed"):
        pack_dataset(tmp_path / "in", str(tmp_path / "out"), CAMVID, None, None)
    assert not manifest.is_complete(str(tmp_path / "out"))


def struct_of(data: pa.DataType, path: pa.DataType) -> pa.DataType:
    return pa.struct([("path", path), pa.field("bytes", data, nullable=False)])


@pytest.mark.parametrize(
    ("text", "image"),
    [
        (pa.large_string(), struct_of(pa.large_binary(), pa.large_string())),
        (pa.string_view(), struct_of(pa.binary_view(), pa.string_view())),
        (pa.dictionary(pa.int32(), pa.string()), struct_of(pa.binary(), pa.null())),
        (pa.string(), pa.large_binary()),
        (pa.string(), pa.binary_view()),
    ],
)
def test_every_arrow_type_of_text_and_bytes_is_taken(tmp_path: Path, text: pa.DataType, image: pa.DataType) -> None:
    keys = ["1", "2"]
    names = pa.array(keys).cast(text)

    def column(data: bytes) -> pa.Array:
        return pa.array([{"bytes": data, "path": None}] * 2 if pa.types.is_struct(image) else [data] * 2, image)

    pq.write_table(pa.table({"key": names, "image": column(IMAGE), "mask": column(LABEL)}), tmp_path / "a.parquet")
    found = list(read_foreign(str(tmp_path / "a.parquet")))
    assert [(sample.key, sample.image, sample.label) for sample in found] == [(key, IMAGE, LABEL) for key in keys]


def test_columns_of_images_that_are_not_taken_are_named(tmp_path: Path) -> None:
    table = {"image": [encoded(IMAGE)], "semantic": [encoded(LABEL)], "layers": [[encoded(LABEL)]], "note": ["x"]}
    kinds = [("image", ENCODED), ("semantic", ENCODED), ("layers", pa.large_list(ENCODED)), ("note", pa.string())]
    pq.write_table(pa.table(table, pa.schema(kinds)), tmp_path / "a.parquet")
    survey = survey_foreign(str(tmp_path / "a.parquet"))
    assert survey.unused == ["semantic"]
    left_out = survey.inventory.left_out
    assert left_out["columns of bytes or images"].first == ["a.parquet: semantic", "a.parquet: layers"]
    assert left_out["other columns"].first == ["a.parquet: note"]
