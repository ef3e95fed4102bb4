"""Data made to crash, fill or mislead its readers: only errors of our own come out, in bounded time and memory."""

import io
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dakpn import storage
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.datasets.formats.foreign import read_foreign
from dakpn.datasets.formats.parquet import SHARD_SCHEMA
from dakpn.datasets.manifest import read_rows, shard_uri
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard, shard_rows, write_shard
from dakpn.errors import DakpnError, DataError, StorageError
from dakpn.images import codec
from dakpn.sources.check import CheckRequest, check_dataset
from dakpn.sources.preset import load_preset

CAMVID = load_preset("camvid")
PNG = codec.encode_image(np.full((3, 4, 3), 9, np.uint8), "png")
JPEG = codec.encode_image(np.full((3, 4, 3), 9, np.uint8), "jpeg")
LABEL = codec.encode_label(np.full((3, 4), 5, np.uint8))
SAMPLES = [Sample(f"k/{i}", PNG, f"i/{i}.png", LABEL, f"l/{i}.png") for i in range(4)]
FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def memory(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def frugal() -> Iterator[None]:
    """The test takes at most 200 MB more than was held before, at any moment."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < 200_000_000


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def shard_bytes(kind: FormatName, folder: Path) -> bytes:
    uri = shard_uri(str(folder), "x", kind)
    write_shard(uri, SAMPLES)
    return Path(uri).read_bytes()


@pytest.mark.parametrize("kind", list(FORMATS))
@FUZZ
@given(edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_shard_with_changed_bytes_gives_rows_or_an_error_of_ours(
    kind: FormatName, edits: list[tuple[float, int]], tmp_path: Path, frugal: None
) -> None:
    data = bytearray(shard_bytes(kind, tmp_path))
    for place, value in edits:
        data[int(place * len(data))] = value
    read_in_every_way(kind, bytes(data), tmp_path)


@pytest.mark.parametrize("kind", list(FORMATS))
@FUZZ
@given(data=st.binary(max_size=3000), whole=st.booleans())
def test_random_bytes_are_no_shard(kind: FormatName, data: bytes, whole: bool, tmp_path: Path, frugal: None) -> None:
    opening = {"parquet": (b"PAR1", struct.pack("<I", len(data)) + b"PAR1"), "webdataset": (b"", bytes(1024))}
    before, after = opening.get(kind, (b'{"rows": [', b"]}")) if whole else (b"", b"")
    read_in_every_way(kind, before + data + after, tmp_path)


@FUZZ
@given(tail=st.lists(st.tuples(st.integers(1, 1500), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_parquet_footer_with_changed_bytes_never_ends_the_process(
    tail: list[tuple[int, int]], tmp_path: Path, frugal: None
) -> None:
    data = bytearray(shard_bytes("parquet", tmp_path))
    for place, value in tail:
        data[-(place % len(data)) - 1] = value
    read_in_every_way("parquet", bytes(data), tmp_path)


def read_in_every_way(kind: FormatName, data: bytes, folder: Path) -> None:
    uri = shard_uri(str(folder), "x", kind)
    storage.write_bytes(uri, data)
    readers: list[Callable] = [read_shard, lambda uri: [row.load() for row in shard_rows(uri)]]
    if kind != "folder":
        readers.append(read_foreign)
    started = time.process_time()
    for read in readers:
        with suppress(DakpnError):
            assert len(list(read(uri))) <= 2 * len(SAMPLES)
    assert time.process_time() - started < 5


def test_names_that_are_no_text_are_a_data_error(tmp_path: Path) -> None:
    bad = pa.array([b"\xff\xfe"]).cast(pa.binary()).view(pa.string())
    image = pa.array([{"bytes": PNG, "path": "a.png"}], SHARD_SCHEMA.field("image").type)
    pq.write_table(pa.table({"key": bad, "image": image}), tmp_path / "x.parquet")
    for read in (read_shard, read_foreign):
        with pytest.raises(DataError, match=r"x\.parquet .*utf-8"):
            list(read(str(tmp_path / "x.parquet")))
    (tmp_path / "_dakpn/manifest").mkdir(parents=True)
    pq.write_table(pa.table({"key": bad}), tmp_path / "_dakpn/manifest/x.parquet")
    with pytest.raises(DataError, match="expected a row manifest"):
        read_rows(str(tmp_path), "x")


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_a_parquet_bomb_is_refused_before_it_is_read(compression: str, tmp_path: Path) -> None:
    rows = [{"key": f"k{i}", "image": {"bytes": PNG + bytes(30 * 2**20), "path": f"{i}.png"}} for i in range(3)]
    table = pa.Table.from_pylist(rows, pa.schema([SHARD_SCHEMA.field("key"), SHARD_SCHEMA.field("image")]))
    options = {"compression": compression, "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, tmp_path / "x.parquet", **options)
    stored = (tmp_path / "x.parquet").stat().st_size
    del rows, table
    for read in (read_shard, read_foreign):
        with pytest.raises(DataError, match=rf"a row group grows to \d+ bytes when it is read, in a file of {stored}"):
            list(read(str(tmp_path / "x.parquet")))


def test_pixel_data_that_goes_on_behind_the_last_row_is_not_inflated(frugal: None) -> None:
    deflate = zlib.compressobj(1)
    parts = [deflate.compress(bytes(2**22)) for _ in range(100)]  # 400 MB
    data = b"".join([*parts, deflate.flush()])
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 8, 2, 0, 0, 0))
    for extra in (b"", chunk(b"zTXt", b"a\0\0" + data), chunk(b"iCCP", b"a\0\0" + data)):
        bomb = codec.png.SIGNATURE + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        assert codec.decode_image(bomb, "x").shape == (3, 4, 3)


def test_a_jpeg_of_very_many_scans_is_refused_unread() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    assert codec.decode_image(data, "x").shape == (64, 64, 3)
    last = data.rfind(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 5000 + data[-2:]
    with pytest.raises(DataError, match=r"a\.jpg: got a JPEG of 50\d\d scans, expected at most 200"):
        codec.decode_image(bomb, "a.jpg")


def test_a_header_that_lies_about_the_size_is_refused(frugal: None) -> None:
    for side in (3, 14_000):  # one row too many, and 600 MB of them
        size = struct.pack(">II", 4 if side == 3 else side, 4 if side == 3 else side)
        lying = codec.png.SIGNATURE + chunk(b"IHDR", size + PNG[24:29]) + PNG[33:]
        with pytest.raises(DataError, match=r"a\.png: .*pixel data ends after"):
            codec.decode_image(lying, "a.png")
    start = JPEG.index(b"\xff\xc0") + 5
    lying = JPEG[:start] + struct.pack(">HH", 2000, 2000) + JPEG[start + 4 :]
    with pytest.raises(DataError, match=r"a\.jpg: the JPEG data is truncated or damaged"):
        codec.decode_image(lying, "a.jpg")


def test_links_in_a_circle_are_followed_once(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(3)
    (root / "images/train/again").symlink_to(root / "images/train")
    (root / "images/train/above").symlink_to(root)
    (root / "labels/train/again").symlink_to("../../labels")
    assert [pair.key for pair in CAMVID.find_pairs(root, None)] == ["train/000", "train/001", "train/002"]


def test_a_link_to_nothing_and_a_pipe_are_named_and_not_waited_for(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset(4)
    for name, make in (("001", lambda path: path.symlink_to("nothing")), ("002", os.mkfifo)):
        (root / f"images/train/{name}.png").unlink()
        make(root / f"images/train/{name}.png")
    report = check_dataset(CheckRequest(str(root)))
    assert [(p.kind, p.key) for p in report.problems] == [("unreadable", "train/001"), ("unreadable", "train/002")]
    assert "pipe" in report.problems[1].message
    with pytest.raises(StorageError, match="pipe"), storage.open_input(str(root / "images/train/002.png")):
        pass


def test_a_link_in_a_packed_folder_leads_to_no_other_bytes(tmp_path: Path) -> None:
    uri = shard_uri(str(tmp_path / "out"), "x", "folder")
    write_shard(uri, SAMPLES)
    (tmp_path / "secret.png").write_bytes(JPEG)
    (tmp_path / "out/i/1.png").unlink()
    (tmp_path / "out/i/1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"i/1\.png is not the file that was written"):
        list(read_shard(uri))


def test_a_list_of_very_many_rows_and_deep_json_are_refused_or_read(tmp_path: Path) -> None:
    uri = shard_uri(str(tmp_path), "x", "folder")
    for text in ("[" * 100_000, json.dumps({"rows": [{}] * 100_000}), '{"rows": {"a": 1}}', "1" * 10_000):
        storage.write_bytes(uri, text.encode())
        with pytest.raises(DataError, match=r"x\.json is damaged"):
            list(read_shard(uri))


def test_readers_in_threads_see_the_same_errors(tmp_path: Path) -> None:
    """A damaged shard must not end another thread's work."""
    data = shard_bytes("parquet", tmp_path)
    (tmp_path / "y.parquet").write_bytes(data[: len(data) // 2])
    found: list[int | str] = []

    def read(uri: str) -> None:
        try:
            found.append(len(list(read_shard(uri))))
        except DataError:
            found.append("refused")

    threads = [threading.Thread(target=read, args=[str(tmp_path / f"{n}.parquet")]) for n in ("x", "y") * 4]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert sorted(map(str, found)) == ["4"] * 4 + ["refused"] * 4
