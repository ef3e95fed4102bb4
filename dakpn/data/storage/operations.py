"""Read, write, list and delete files by URI."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from fsspec.spec import AbstractFileSystem

from dakpn.data.storage.errors import explained
from dakpn.data.storage.location import is_local, join, locate
from dakpn.data.storage.retries import ShortReadError, retried
from dakpn.errors import StorageError

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


def read_bytes(uri: str) -> bytes:
    """Return the content of a file.

    Raises:
        StorageError: It does not exist or cannot be read.
    """
    return _act("read", uri, _read)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a whole file, replacing what was there; a reader sees the old content or the new, never a part.

    Missing local folders are made.

    Raises:
        StorageError: It cannot be written, or has more than 5 GiB on S3, the most that one PUT takes.
    """

    def write(files: AbstractFileSystem, path: str) -> None:
        if is_local(files):
            _write_local(Path(path), data)
        elif len(data) >= _LARGEST_PUT:
            raise StorageError(f"cannot write {uri}: {len(data)} bytes are too many for S3; use smaller shards")
        else:
            files.pipe_file(path, data, chunksize=_LARGEST_PUT)

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
        if is_local(files):
            status = Path(path).stat()
            return f"{status.st_size}-{status.st_mtime_ns}"
        entry = files.info(path)
        # Some S3-compatible servers keep no ETags; an empty one would make every version look alike.
        return entry.get("ETag", "").strip('"') or f"{entry['size']}-{entry['LastModified']:%Y%m%dT%H%M%S.%f}"

    return _act("look up", uri, look)


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
            with files.open(path, "rb") as file:
                yield cast(BinaryIO, file)
            return
        with retried(lambda: files.open(path, "rb"), f"read {uri}") as file:
            _read_on_through_failures(file, uri)
            yield cast(BinaryIO, file)


def _read(files: AbstractFileSystem, path: str) -> bytes:
    return cast(bytes, files.cat_file(path)) if is_local(files) else _download(files, path)


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


def _write_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
