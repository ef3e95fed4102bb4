"""Datasets in every format: the same samples, the same bytes again, and from each to each."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard, write_shard
from dakpn.errors import DataError, StorageError, UsageError
from dakpn.images.codec import encode_image
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from tests.paths import REPOSITORY

CAMVID = load_preset("camvid")
ALL: tuple[FormatName, ...] = get_args(FormatName)
PNG = encode_image(np.full((3, 4, 3), 9, np.uint8), "png")
JPEG = encode_image(np.full((3, 4, 3), 9, np.uint8), "jpeg")


@pytest.fixture
def source(make_dataset: Callable[..., Path]) -> Path:
    """Seven pairs in the CamVid layout; one image is a JPEG, one has dots and other letters in its name."""
    root = make_dataset(7)
    (root / "images/train/004.png").unlink()
    (root / "images/train/004.jpg").write_bytes(encode_image(np.zeros((12, 16, 3), np.uint8), "jpeg"))
    for folder in ("images", "labels"):
        (root / folder / "train/005.png").rename(root / folder / "train/005.größe.1.png")
    return root


def samples_of(uri: Path) -> list[Sample]:
    index = manifest.read_index(str(uri))
    return [s for shard in index.shards for s in read_shard(manifest.shard_uri(str(uri), shard.name, index.format))]


def convert(source: Path, out: Path, kind: FormatName, rows: int | None = None, labelled: bool | None = None) -> Path:
    pack_dataset(source, str(out), None, None, rows, labelled, kind)
    return out


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_format_converts_to_every_other_and_back(source: Path, tmp_path: Path) -> None:
    packed: dict[FormatName, Path] = {}
    for name in ALL:
        packed[name] = tmp_path / name
        pack_dataset(source, str(packed[name]), CAMVID, None, 3, None, name)
    expected = samples_of(packed["parquet"])
    assert [s.key for s in expected][-2:] == ["train/005_größe_1", "train/006"]
    assert all((source / s.image_path).read_bytes() == s.image for s in expected)
    for before, after in product(ALL, ALL):
        out = convert(packed[before], tmp_path / f"{before}_to_{after}", after)
        index = manifest.read_index(str(out))
        assert samples_of(out) == expected
        assert index.model_dump() == manifest.read_index(str(packed[after])).model_dump()
        for shard in index.shards:  # bytes depend on the samples alone, not on the way they came
            data = Path(manifest.shard_uri(str(out), shard.name, after)).read_bytes()
            assert data == Path(manifest.shard_uri(str(packed[after]), shard.name, after)).read_bytes()
            assert hashlib.sha256(data).hexdigest() == shard.sha256


def test_a_folder_is_the_tree_that_was_packed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    index = pack_dataset(source, str(out), CAMVID, None, 3, None, "folder")
    written = {path: digest for path, digest in tree(out).items() if path.startswith(("images/", "labels/"))}
    assert written == tree(source)
    listed = sum((out / "_dakpn/files" / f"{shard.name}.json").stat().st_size for shard in index.shards)
    assert sum(shard.bytes for shard in index.shards) == listed + sum(
        path.stat().st_size for path in source.rglob("*.*g")
    )
    again = pack_dataset(out, str(tmp_path / "again"), None, None, None)  # `_dakpn` tells what it is
    assert again.rows == 7


@pytest.mark.parametrize("kind", ALL)
def test_shards_can_be_cut_anew_and_labels_left_out(kind: FormatName, source: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    pack_dataset(source, str(packed), CAMVID, None, 3, None, kind)
    for rows, expected in ((1, [1] * 7), (2, [2, 2, 2, 1]), (4, [4, 3]), (100, [7])):
        out = convert(packed, tmp_path / f"{rows}", "webdataset", rows)
        assert [shard.rows for shard in manifest.read_index(str(out)).shards] == expected
        assert samples_of(out) == samples_of(packed)
    bare = convert(packed, tmp_path / "bare", "folder", labelled=False)
    assert not manifest.read_index(str(bare)).labelled
    assert [(s.key, s.image) for s in samples_of(bare)] == [(s.key, s.image) for s in samples_of(packed)]
    assert not (bare / "labels").exists()
    with pytest.raises(UsageError, match="has no labels, which were asked for"):
        convert(bare, tmp_path / "never", "parquet", labelled=True)


def test_a_packed_source_takes_neither_split_nor_preset(source: Path, tmp_path: Path) -> None:
    pack_dataset(source, str(tmp_path / "a"), CAMVID, None, 3)
    with pytest.raises(UsageError, match="is a packed dataset, which takes no split and no preset; leave it out"):
        pack_dataset(tmp_path / "a", str(tmp_path / "b"), CAMVID, "train", 3)


def test_a_source_shard_with_fewer_rows_than_its_index_says_is_found(source: Path, tmp_path: Path) -> None:
    pack_dataset(source, str(tmp_path / "a"), CAMVID, None, 4, None, "webdataset")
    first, second = sorted((tmp_path / "a").glob("*.tar"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(DataError, match=r"train-00000-of-00002\.tar: found 3 rows from row 0 on, expected 4"):
        convert(tmp_path / "a", tmp_path / "b", "parquet")


def test_formats_do_not_mix_in_one_folder(source: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    pack_dataset(source, out, CAMVID, None, 3)
    for other in ("webdataset", "folder"):
        with pytest.raises(UsageError, match=r"already holds train-00000-of-00003\.parquet, expected none but the 3"):
            pack_dataset(source, out, CAMVID, None, 3, None, other)


def test_a_plain_folder_never_overwrites_what_is_not_its_own(source: Path, tmp_path: Path) -> None:
    pack_dataset(source, str(tmp_path / "packed"), CAMVID, None, 3)
    before = tree(source)
    with pytest.raises(UsageError, match="already holds images, expected an empty folder"):
        convert(tmp_path / "packed", source, "folder")
    assert tree(source) == before


@pytest.mark.parametrize("kind", ALL)
def test_what_is_written_is_read_without_labels_too(kind: FormatName, tmp_path: Path) -> None:
    samples = [Sample("a", PNG, "x/a.png", None, None), Sample("b/c", JPEG, "b.jpeg", PNG, "l/b.png")]
    uri = manifest.shard_uri(str(tmp_path), "train-00000-of-00001", kind)
    written = write_shard(uri, iter(samples))
    assert list(read_shard(uri)) == samples
    assert write_shard(uri, samples) == written
    assert FORMATS[kind].names(str(tmp_path)) == ["train-00000-of-00001"]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("../a", PNG, "a.png", None, None), "'../a' is not a plain relative path"),
        (Sample("a.b", PNG, "a.png", None, None), "'a.b' has a dot"),
        (Sample("a", PNG, "/etc/a.png", None, None), "'/etc/a.png' is not a plain relative path"),
        (Sample("a", PNG, "a.png", PNG, "b\\c.png"), "holds a backslash"),
        (Sample("a", PNG, "a\0.png", None, None), "unprintable character"),
        (Sample("ok", PNG, "b.png", None, None), "the key 'ok' twice"),
    ],
)
def test_unsafe_and_repeated_names_are_never_written(
    kind: FormatName, sample: Sample, message: str, tmp_path: Path
) -> None:
    uri = manifest.shard_uri(str(tmp_path / "out"), "x", kind)
    with pytest.raises(DataError) as caught:
        write_shard(uri, [Sample("ok", PNG, "ok.png", None, None), sample])
    assert message in str(caught.value)
    assert not Path(uri).exists()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"ok.png"}


@pytest.mark.parametrize("path", ["ok.png", "README.md", "_SUCCESS", "_dakpn/dataset.json"])
def test_files_of_a_folder_keep_out_of_each_others_way(path: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"would be written to .*, where another file of the dataset is"):
        write_shard(
            manifest.shard_uri(str(tmp_path), "x", "folder"),
            [Sample("ok", PNG, "ok.png", None, None), Sample("b", PNG, "b.png", PNG, path)],
        )


def test_a_folder_whose_files_changed_or_vanished_is_found(tmp_path: Path) -> None:
    uri = manifest.shard_uri(str(tmp_path), "x", "folder")
    write_shard(uri, [Sample("a", PNG, "i/a.png", PNG, "l/a.png")])
    (tmp_path / "l/a.png").write_bytes(JPEG)
    with pytest.raises(DataError, match=r"l/a\.png is not the file that was written \(sha256"):
        list(read_shard(uri))
    (tmp_path / "l/a.png").unlink()
    with pytest.raises(StorageError, match=r"l/a\.png: it does not exist"):
        list(read_shard(uri))


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../secret.png", "", "a\0b", "a\\b"])
def test_a_list_of_files_leads_nowhere_else(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    uri = manifest.shard_uri(str(tmp_path / "out"), "x", "folder")
    file = {"path": path, "sha256": hashlib.sha256(PNG).hexdigest()}
    storage.write_json(uri, {"rows": [{"key": "a", "image": file, "label": None}]})
    with pytest.raises(DataError, match=r"x\.json: "):
        list(read_shard(uri))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"rows": [{"key": 1}]}', b'{"rows": 3}', b"\xff"])
def test_a_damaged_list_of_files_is_a_data_error(content: bytes, tmp_path: Path) -> None:
    uri = manifest.shard_uri(str(tmp_path), "x", "folder")
    storage.write_bytes(uri, content)
    with pytest.raises(DataError, match=r"x\.json is damaged"):
        list(read_shard(uri))


def test_a_uri_that_is_no_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected one that ends in \.parquet, \.tar, \.json"):
        read_shard(str(tmp_path / "x.zip"))


def test_archives_hold_png_and_jpeg_images_and_png_labels(tmp_path: Path) -> None:
    uri = str(tmp_path / "x.tar")
    with pytest.raises(DataError, match="begins with b'GIF89a', expected a PNG or JPEG"):
        write_shard(uri, [Sample("a", b"GIF89a", "a.png", None, None)])
    with pytest.raises(DataError, match="got a JPEG label, expected PNG"):
        write_shard(uri, [Sample("a", PNG, "a.png", JPEG, "b.png")])


_MEASURE = """
import json, sys
from pathlib import Path
from dakpn.datasets import manifest
from dakpn.sources.preset import load_preset
from dakpn.sources.pack import pack_dataset
from dakpn.datasets.shards import read_shard
source, out = sys.argv[1:]
peaks = []
for part in ("small", "large"):
    first, second, third = (f"{out}/{part}_{i}" for i in range(3))
    pack_dataset(f"{source}/{part}", first, load_preset("camvid"), None, 16, None, "parquet")
    pack_dataset(first, second, None, None, None, None, "webdataset")
    pack_dataset(second, third, None, None, None, None, "folder")
    index = manifest.read_index(third)
    rows = sum(1 for shard in index.shards for _ in read_shard(manifest.shard_uri(third, shard.name, "folder")))
    status = Path("/proc/self/status").read_text()
    peaks.append((rows, int(status.partition("VmHWM:")[2].split()[0]) * 1024))
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    """Ten times the rows, 57 MB of them, in shards of the same size: 10 MB more at most."""
    rng = np.random.default_rng(0)
    for part, count in (("small", 32), ("large", 320)):
        folder = tmp_path / "source" / part / "images"
        folder.mkdir(parents=True)
        for number in range(count):
            data = encode_image(rng.integers(0, 256, (240, 250, 3), np.uint8), "png")
            (folder / f"{number:04d}.png").write_bytes(data)
    script = [sys.executable, "-c", _MEASURE, str(tmp_path / "source"), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (small_rows, small), (large_rows, large) = json.loads(done.stdout)
    assert (small_rows, large_rows) == (32, 320)
    assert large - small < 10 * 2**20
