import multiprocessing
import os
import time
from pathlib import Path

import pytest

from dakpn import storage
from dakpn.errors import DataError, StorageError


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("s3://b/p/", "a", "c.json"), "s3://b/p/a/c.json"),
        (("/x/y", "a"), "/x/y/a"),
        (("/", "a"), "/a"),
        (("", "a"), "a"),
        (("file:///x", "/a/"), "file:///x/a"),
    ],
)
def test_join(parts: tuple[str, ...], expected: str) -> None:
    assert storage.join(*parts) == expected


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_local_file_from_birth_to_end(tmp_path: Path, prefix: str) -> None:
    uri = f"{prefix}{tmp_path}/new/folder/a.bin"
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"one")
    first = storage.fingerprint(uri)
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"one"
    with storage.open_input(uri) as file:
        file.seek(1)
        assert file.read() == b"ne"
    time.sleep(0.01)
    storage.write_bytes(uri, b"two")
    assert storage.fingerprint(uri) != first
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_listing_is_sorted_flat_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ["b.json", "a.json", "c.txt", ".a.json.1234.tmp", "below/d.json"]:
        storage.write_bytes(storage.join(str(tmp_path), name), b"{}")
    assert storage.list_files(str(tmp_path), ".json") == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert len(storage.list_files(f"{tmp_path}/")) == 3
    assert storage.list_files(f"{tmp_path}/nowhere") == []
    assert storage.list_files(f"{tmp_path}/a.json") == []


def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "a.bin")
    storage.write_bytes(uri, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot write .*a\.bin: No space left on device; check"):
        storage.write_bytes(uri, b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.bin")
    contents = [bytes([value]) * 200_000 for value in (1, 2)]
    storage.write_bytes(uri, contents[0])
    writer = multiprocessing.get_context("fork").Process(target=_write_in_turn, args=(uri, contents))
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(storage.read_bytes(uri))
    writer.join()
    assert seen <= set(contents)
    assert storage.list_files(str(tmp_path)) == [uri]


def _write_in_turn(uri: str, contents: list[bytes]) -> None:
    for turn in range(20):
        storage.write_bytes(uri, contents[turn % 2])


def test_json_is_written_the_same_way_every_time(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.json")
    storage.write_json(uri, {"b": 1, "a": ["ü"]})
    assert storage.read_json(uri) == {"a": ["ü"], "b": 1}
    assert storage.read_bytes(uri).index(b'"a"') < storage.read_bytes(uri).index(b'"b"')


def test_damaged_json_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(DataError, match=r"a\.json is damaged .*expected JSON"):
        storage.read_json(str(tmp_path / "a.json"))


@pytest.mark.parametrize("act", [storage.read_bytes, storage.fingerprint, storage.read_json])
def test_what_is_missing_is_named(act, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nothing\.bin: it does not exist; check the path"):
        act(str(tmp_path / "nothing.bin"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Is a directory"):
        storage.read_bytes(str(tmp_path))
    with (
        pytest.raises(StorageError, match="cannot read"),
        storage.open_input(str(tmp_path / "x")),
    ):
        pass


def test_other_schemes_and_missing_buckets_are_refused() -> None:
    with pytest.raises(StorageError, match=r"cannot use gs:// URIs; expected a plain path, file:// or s3://"):
        storage.exists("gs://bucket/a")
    with pytest.raises(StorageError, match="names no bucket"):
        storage.exists("s3://")


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(StorageError) as caught:
        storage.read_bytes("s3://AKIAKEY:hunter2@bucket/a")
    assert "hunter2" not in str(caught.value)
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)


def test_messages_of_the_store_lose_their_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to http://user:pw@host with canary-secret\nat all")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", fail)
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(StorageError, match=r"http://\*\*\*@host with \*\*\* at all;") as caught:
        storage.read_bytes(str(tmp_path / "x"))
    assert "canary" not in str(caught.value)


def test_a_folder_is_deleted_with_its_hidden_files_but_not_with_folders_below(tmp_path: Path) -> None:
    folder, kept = tmp_path / "gone", tmp_path / "kept"
    for path in (folder / "a.json", folder / ".a.json.tmp", kept / "b.json", kept / "below" / "c.json"):
        storage.write_bytes(str(path), b"{}")
    for uri in (folder, kept, tmp_path / "never there"):
        storage.delete_folder(str(uri))
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "kept",
        "kept/below",
        "kept/below/c.json",
    ]
