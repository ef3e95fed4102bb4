"""Archives that may come from anyone: refused with a sentence that names archive and member, never extracted."""

import gzip
import io
import json
import pickle
import tarfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dakpn.datasets.formats import tar
from dakpn.datasets.formats.foreign import read_foreign
from dakpn.datasets.formats.webdataset import write_tar
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError
from dakpn.images.codec import encode_image

PNG = encode_image(np.full((3, 4, 3), 9, np.uint8), "png")
PATHS = json.dumps({"image_path": "a.png", "label_path": None}).encode()
SAMPLES = [Sample(f"k/{i:03d}", PNG, f"i/{i}.png", PNG, f"l/{i}.png") for i in range(5)]


def encode_tar(samples: Iterable[Sample], origin: str) -> bytes:
    buffer = io.BytesIO()
    write_tar(buffer, samples, origin)
    return buffer.getvalue()


def member(name: str, data: bytes = PNG, **values: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in values.items():
        setattr(info, field, value)
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes], layout: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., None]:
    """Return a function that asserts how both readers refuse an archive, and that nothing was written."""

    def check(data: bytes, *messages: str) -> None:
        (tmp_path / "x.tar").write_bytes(data)
        for read in (read_shard, read_foreign):
            with pytest.raises(DataError) as caught:
                list(read(str(tmp_path / "x.tar")))
            assert str(tmp_path / "x.tar") in str(caught.value)
            for message in messages:
                assert message in str(caught.value)
        assert [path.name for path in tmp_path.rglob("*")] == ["x.tar"]

    return check


def test_what_is_written_is_plain(tmp_path: Path) -> None:
    data = encode_tar(iter(SAMPLES), "x")
    assert data == encode_tar(SAMPLES, "x")
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        members = file.getmembers()
    assert [m.name for m in members][:4] == ["k/000.image.png", "k/000.json", "k/000.label.png", "k/001.image.png"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("key", ["a", "f/" * 60 + "a", "größe/" + "ü" * 40])
def test_all_tar_formats_are_read(layout: int, key: str, tmp_path: Path) -> None:
    members = [member(f"./{key}.image.png"), member(f"./{key}.json", PATHS), member("./f", b"", type=tarfile.DIRTYPE)]
    (tmp_path / "x.tar").write_bytes(archive(*members, layout=layout))
    assert [s.key for s in read_shard(str(tmp_path / "x.tar"))] == [key]
    assert [s.image_path for s in read_foreign(str(tmp_path / "x.tar"))] == [f"images/{key}.png"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.FIFOTYPE, "pipe"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.GNUTYPE_SPARSE, "sparse file"),
        (b"Z", "special file of type b'Z'"),
    ],
)
def test_whatever_is_no_file_is_refused(kind: bytes, word: str, refused: Callable[..., None]) -> None:
    info, _ = member("a.png", b"", linkname="/etc/passwd", type=kind)
    block = info.tobuf(tarfile.GNU_FORMAT)
    refused(block + bytes(1024), f"the member 'a.png' is a {word}, expected plain files")


@pytest.mark.parametrize(
    "name", ["/etc/a.png", "../a.png", "a/../../b.png", "a//b.png", "a\\b.png", "a\nb.png", "a/./b.png", "\udcff.png"]
)
@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_unsafe_names_are_refused(name: str, layout: int, refused: Callable[..., None]) -> None:
    refused(archive(member(name), layout=layout), "the name ")


def test_a_nul_in_an_extended_name_is_refused(refused: Callable[..., None]) -> None:
    refused(archive(member("a.png", pax_headers={"path": "a\0b.png"})), "'a\\x00b.png' holds a backslash or an unpr")


def test_repeated_rows_and_fields_are_refused(refused: Callable[..., None]) -> None:
    row = [member("a.image.png"), member("a.json", PATHS)]
    refused(archive(*row, member("b.image.png"), member("b.json", PATHS), *row), "holds the key 'a' twice")
    refused(archive(*row, member("a.image.png")), "'a.image.png' gives 'a' a second image")
    refused(archive(*row, member("a.image.jpg")), "'a.image.jpg' gives 'a' a second image")


def test_members_of_other_types_are_passed_over_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path(tmp_path / "exploded").touch, ())

    monkeypatch.setattr(tar, "MAX_MEMBER_BYTES", 1000)
    others = [
        member("a.pickle", pickle.dumps(Bomb())),
        member("a.pyd", bytes(5000)),
        member("a"),
        member("._a.image.png"),
        member(".hidden"),
        member("a.image.png.exe"),
    ]
    (tmp_path / "x.tar").write_bytes(archive(member("a.image.png"), *others, member("a.json", PATHS)))
    assert [s.key for s in read_shard(str(tmp_path / "x.tar"))] == ["a"]
    assert [s.key for s in read_foreign(str(tmp_path / "x.tar"))] == ["a"]
    assert not (tmp_path / "exploded").exists()


def test_a_large_member_is_refused_before_it_is_read(refused: Callable[..., None]) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = 2**40
    refused(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), "truncated in its member 'a.png'")
    refused(archive(member("a.png", pax_headers={"size": str(2**70)})), "truncated in its member 'a.png'")
    refused(archive(member("a.png", pax_headers={"size": "-1"})), "the size -1")


def test_a_member_over_the_limit_is_refused(refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_MEMBER_BYTES", 50)
    refused(archive(member("a.image.png")), f"'a.image.png' has {len(PNG)} bytes, expected at most 50")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_huge_extension_header_is_refused_unread(kind: bytes, refused: Callable[..., None]) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2**33
    refused(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), "the extension header 'x' has 8589934592 bytes")


@pytest.mark.parametrize("records", [b"garbage", b"5 a=b\n", b"99999 path=a\n", b"0 path=a\n", b"9" * 9000, b"-3 a\n"])
def test_a_bad_extension_header_is_refused(records: bytes, refused: Callable[..., None]) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    padded = records + bytes(-len(records) % 512)
    refused(info.tobuf(tarfile.GNU_FORMAT) + padded + archive(member("a.png")), "got a bad extension header")


def test_a_sparse_file_in_disguise_is_refused(refused: Callable[..., None]) -> None:
    refused(archive(member("a.png", pax_headers={"GNU.sparse.map": "0,1"})), "(a sparse file)")


def test_an_archive_cut_anywhere_is_a_data_error(tmp_path: Path) -> None:
    data = encode_tar(SAMPLES[:2], "x")
    end = len(data.rstrip(b"\0")) + 512  # into the zero blocks, the end mark
    for length in [*range(0, end, 97), *range(0, end, 512)]:
        (tmp_path / "x.tar").write_bytes(data[:length])
        with pytest.raises(DataError, match=r"x\.tar: .*truncated"):
            list(read_shard(str(tmp_path / "x.tar")))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_damaged_byte_never_crashes_the_readers(position: int, value: int, tmp_path: Path) -> None:
    data = bytearray(encode_tar(SAMPLES[:1], "x"))
    data[position] = value
    (tmp_path / "x.tar").write_bytes(data)
    for read in (read_shard, read_foreign):
        with suppress(DataError):  # nothing else, and no more than the one row
            assert len(list(read(str(tmp_path / "x.tar")))) <= 1


def test_a_compressed_archive_and_other_files_are_refused(refused: Callable[..., None]) -> None:
    refused(gzip.compress(np.random.default_rng(0).bytes(4000)), "or is no uncompressed tar")
    refused(b"", "truncated (0 bytes")
    refused(PNG * 20, "damaged at byte 0")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"image_path": 3, "label_path": null}', b"[" * 100_000]
)
def test_a_row_without_its_paths_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(archive(member("a.image.png"), member("a.json", content)))
    with pytest.raises(DataError, match=r"x\.tar: the row 'a' has no readable member a\.json"):
        list(read_shard(str(tmp_path / "x.tar")))


def test_a_row_that_lost_a_member_is_refused(tmp_path: Path) -> None:
    paths = json.dumps({"image_path": "a.png", "label_path": "b.png"}).encode()
    for members, lost in (
        ([member("a.image.png"), member("a.json", paths)], "label"),
        ([member("a.json", paths), member("a.label.png")], "image"),
    ):
        (tmp_path / "x.tar").write_bytes(archive(*members))
        with pytest.raises(DataError, match=f"the row 'a' lacks its {lost}"):
            list(read_shard(str(tmp_path / "x.tar")))


def test_many_entries_take_little_time(tmp_path: Path) -> None:
    """100,000 members that do not matter, around one that does."""
    block = tarfile.TarInfo("x/y.txt").tobuf(tarfile.USTAR_FORMAT)
    row = archive(member("a.image.png"), member("a.json", PATHS))
    (tmp_path / "x.tar").write_bytes(block * 100_000 + row)
    started = time.process_time()
    assert [s.key for s in read_shard(str(tmp_path / "x.tar"))] == ["a"]
    assert time.process_time() - started < 20
