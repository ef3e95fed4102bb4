"""Read, write, list and delete files by URI."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from fsspec.spec import AbstractFileSystem

from dakpn.errors import StorageError
from dakpn.storage.errors import explained
from dakpn.storage.local_files import refuse_endless, whole_file
from dakpn.storage.location import is_local, join, locate
from dakpn.storage.retries import ShortReadError, retried

T = TypeVar("T")
_LARGEST_PUT = 5 * 2**30
_LARGEST_GET = 50 * 2**20
"""Bytes; what is larger comes in parts side by side."""


def exists(uri: str) -> bool:
    """Tell whether a file, or a folder with something in it, is at `uri`.

    Raises:
        StorageError: The storage gave no answer.
    """
    return _info(uri, "look up") is not None


def read_bytes(uri: str, size: int | None = None) -> bytes:
    """Return the content of a file.

    Args:
        uri: The file.
        size: Its bytes where a listing told them, which on S3 saves asking for them.

    Raises:
        StorageError: It does not exist or cannot be read.
    """
    return _act("read", uri, lambda files, path: _read(files, path, size))


def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write a whole file, replacing what was there; a reader sees the old content or the new, never a part.

    Missing local folders are made.

    Raises:
        StorageError: It cannot be written, or has more than 5 GiB on S3, the most that one PUT takes.
    """

    def write(files: AbstractFileSystem, path: str) -> None:
        if is_local(files):
            with whole_file(Path(path)) as file:
                file.write(data)
        elif len(data) >= _LARGEST_PUT:
            raise StorageError(f"cannot write {uri}: {len(data)} bytes are too many for S3; use smaller shards")
        else:
            files.pipe_file(path, bytes(data), chunksize=_LARGEST_PUT)

    _act("write", uri, write)


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Return the URIs of the files directly in the folder `uri` whose names end in `suffix`, sorted.

    Hidden files (leading dot), among them the temporary ones of `write_bytes`, are left out. A folder that
    does not exist has no files.

    Raises:
        StorageError: The folder cannot be listed.
    """
    path, entries = _entries(uri)
    below = path.rstrip("/") + "/"
    # A file asked for as a folder lists itself, and S3 may list the folder's own empty key.
    paths = [entry["name"] for entry in entries if entry["type"] == "file"]
    names = sorted(path.removeprefix(below) for path in paths if path.startswith(below) and path != below)
    return [join(uri, name) for name in names if name.endswith(suffix) and not name.startswith(".")]


def list_folders(uri: str) -> list[str]:
    """Return the URIs of the folders directly in the folder `uri`, sorted; none if it does not exist.

    Raises:
        StorageError: The folder cannot be listed.
    """
    _, entries = _entries(uri)
    names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
    return [join(uri, name) for name in sorted(names)]


def delete(uri: str) -> None:
    """Delete one file; it is no error if there is none.

    Raises:
        StorageError: It cannot be deleted.
    """

    def remove(files: AbstractFileSystem, path: str) -> None:
        try:
            files.rm_file(path)
        except FileNotFoundError:
            return

    _act("delete", uri, remove)


def delete_folder(uri: str) -> None:
    """Delete the files directly in a folder, hidden ones too, one key at a time, and locally the folder itself.

    It is no error if there is none; what lies in folders below is left, and then locally the folder too.

    Raises:
        StorageError: A file of it cannot be deleted.
    """
    path, entries = _entries(uri)
    below = path.rstrip("/") + "/"
    for entry in entries:
        if entry["type"] == "file" and entry["name"].startswith(below):
            delete(join(uri, entry["name"].removeprefix(below)))

    def remove(files: AbstractFileSystem, path: str) -> None:
        if is_local(files) and Path(path).is_dir() and not any(Path(path).iterdir()):
            Path(path).rmdir()

    _act("delete", uri, remove)


def fingerprint(uri: str) -> str:
    """Return a string that changes when the file does: "size-mtime_ns" locally, the ETag on S3 (or size and time).

    Raises:
        StorageError: The file does not exist or cannot be looked up.
    """

    def look(files: AbstractFileSystem, path: str) -> str:
        return _local_version(Path(path).stat()) if is_local(files) else remote_version(files.info(path))

    return _act("look up", uri, look)


def fingerprints(uri: str, suffix: str = "") -> dict[str, str]:
    """Return name -> `fingerprint` of the files that `list_files` finds, by the listing alone: one request a thousand.

    Raises:
        StorageError: The folder cannot be listed.
    """

    def look(files: AbstractFileSystem, path: str) -> dict[str, str]:
        if is_local(files):
            try:
                with os.scandir(path) as entries:
                    return {e.name: _local_version(e.stat()) for e in entries if e.is_file()}
            except FileNotFoundError:
                return {}
        _, entries = _entries(uri)
        return {e["name"].rpartition("/")[2]: remote_version(e) for e in entries if e["type"] == "file"}

    found = _act("list", uri, look)
    return {name: found[name] for name in sorted(found) if name.endswith(suffix) and not name.startswith(".")}


def file_size(uri: str) -> int:
    """Return the number of bytes of a file.

    Raises:
        StorageError: The file does not exist or cannot be looked up.
    """
    return int(_act("look up", uri, lambda files, path: files.info(path)["size"]))


@contextmanager
def open_output(uri: str) -> Iterator[BinaryIO]:
    """Open a file for writing from front to back, to be used in a `with` statement; it is there when that ends well.

    Local content goes to the disk as it comes; S3 gets it in one PUT at the end. An `OSError` raised in the block is
    reported as one of this URI.

    Raises:
        StorageError: It cannot be written; see `write_bytes`.
    """
    with explained("write", uri):
        files, path = locate(uri)
        if is_local(files):
            with whole_file(Path(path)) as file:
                yield file
            return
        buffer = io.BytesIO()
        yield buffer
    write_bytes(uri, buffer.getbuffer())


@contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading and seeking, to be used in a `with` statement.

    Keep the block to reading that file: an `OSError` raised in it is reported as one of this URI.

    Raises:
        StorageError: The file does not exist, or cannot be opened or read on.
    """
    with explained("read", uri):
        files, path = locate(uri)
        if is_local(files):
            refuse_endless(path)
            with files.open(path, "rb") as file:
                yield cast(BinaryIO, file)
            return
        with retried(lambda: files.open(path, "rb"), f"read {uri}") as file:
            _read_on_through_failures(file, uri)
            yield cast(BinaryIO, file)


def _read(files: AbstractFileSystem, path: str, size: int | None) -> bytes:
    if not is_local(files):
        if size is not None and size <= _LARGEST_GET:
            data = cast(bytes, files.cat_file(path, max_concurrency=1))
            if len(data) == size:
                return data  # else it was cut, or replaced since it was listed: `_download` can tell
        return _download(files, path)
    refuse_endless(path)
    return cast(bytes, files.cat_file(path))


def _entries(uri: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the path of a folder and what is in it; nothing if it does not exist."""

    def entries(files: AbstractFileSystem, path: str) -> tuple[str, list[dict[str, Any]]]:
        try:
            return path, files.ls(path, detail=True)
        except FileNotFoundError:
            return path, []

    return _act("list", uri, entries)


def _info(uri: str, action: str) -> dict[str, Any] | None:
    def look(files: AbstractFileSystem, path: str) -> dict[str, Any] | None:
        try:
            return files.info(path)
        except FileNotFoundError:
            return None

    return _act(action, uri, look)


def _act(action: str, uri: str, act: Callable[[AbstractFileSystem, str], T]) -> T:
    """Do something with a file: on S3 more than once if need be, and with errors explained."""
    with explained(action, uri):
        files, path = locate(uri)
        if is_local(files):
            return act(files, path)
        return retried(lambda: act(files, path), f"{action} {uri}")


def _download(files: AbstractFileSystem, path: str) -> bytes:
    """Read a whole file of S3, and all of one version of it."""
    before = files.info(path)
    size = before["size"]
    if before["type"] != "file":
        raise IsADirectoryError(21, "Is a directory")
    data = cast(bytes, files.cat_file(path, max_concurrency=1 if size <= _LARGEST_GET else None))
    if len(data) != size:
        raise ShortReadError(f"{len(data)} bytes came, expected {size}")
    if size > _LARGEST_GET and files.info(path).get("ETag") != before.get("ETag"):
        raise ShortReadError("the file was replaced while it was read")
    return data


def _read_on_through_failures(file: Any, uri: str) -> None:
    """Make an open file of S3 ask again for a range that did not come, or not all of it."""
    fetch, size = file.cache.fetcher, file.size

    def fetch_whole(start: int, stop: int) -> bytes:
        def once() -> bytes:
            try:
                data = fetch(start, stop)
            except IndexError as error:  # s3fs looks for an errno in a timeout, which has none
                raise TimeoutError("the server was silent for too long") from error
            if len(data) != (expected := max(0, min(stop, size) - start)):
                raise ShortReadError(f"{len(data)} bytes came, expected {expected}")
            return data

        return retried(once, f"read {uri}")

    file.cache.fetcher = fetch_whole


def _local_version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def remote_version(entry: dict[str, Any]) -> str:
    """Return the `fingerprint` of what S3 says of a file."""
    # Some S3-compatible servers keep no ETags; an empty one would make every version look alike. Of the time, a listing
    # has milliseconds and a single file's answer has not: both must give the same version.
    return entry.get("ETag", "").strip('"') or f"{entry['size']}-{entry['LastModified']:%Y%m%dT%H%M%S}"
