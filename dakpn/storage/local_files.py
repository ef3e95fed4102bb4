"""Local files that are there whole or not at all, and what is left of them when a writer was killed.

A writer holds a lock on its temporary file (`flock`), which goes with its process however that ends. So whoever gets
the lock of another's file knows that nobody will finish it.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from dakpn.storage.errors import explained
from dakpn.storage.location import is_local, locate

_SUFFIX = ".tmp"
_NAME_BYTES = 241
"""Bytes of the final name that a temporary one keeps; it has 14 more, and file systems allow 255."""


@contextmanager
def temporary_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Give a new, locked file beside `path`, open for writing, to be moved there before the block ends.

    If the block fails, the file is deleted.
    """
    name = path.name.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore")
    while True:
        temporary = path.with_name(f".{name}.{secrets.token_hex(4)}{_SUFFIX}")
        with temporary.open("xb") as file:
            try:
                if not _locked(file, temporary):
                    continue  # it was taken for a leftover in the moment before it was locked
                yield cast(BinaryIO, file), temporary
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            return


def delete_leftovers(uri: str) -> int:
    """Delete the temporary files below the local folder `uri` whose writers are gone, and return how many there were.

    Those of writers that still run, here or (on NFS) on other machines, are left alone. On S3 a write is one PUT, which
    leaves nothing.

    Raises:
        StorageError: The folder cannot be read, or a file not be deleted.
    """
    with explained("delete", uri):
        files, path = locate(uri)
        if not is_local(files):
            return 0
        return sum(_delete_if_dead(Path(folder, name)) for folder, _, names in os.walk(path) for name in _ours(names))


def _ours(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".") and name.endswith(_SUFFIX)]


def _delete_if_dead(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if not _locked(file, path):
                return False
            path.unlink()
            return True
    except FileNotFoundError:  # its writer, or another cleaner, was quicker
        return False


def _locked(file: object, path: Path) -> bool:
    """Lock a file if nobody holds it, and tell whether it was locked and is still the one at `path`."""
    descriptor = cast(BinaryIO, file).fileno()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name, on the disk, when the block ends well; else nothing is left of it.

    Missing folders are made. Readers see the old content or the new, also after a power cut.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path) as (file, temporary):
        yield file
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_endless(path: str) -> None:
    """Refuse a pipe, socket or device, which reading would wait for, or never come to the end of. Raises `OSError`."""
    mode = os.stat(path).st_mode  # noqa: PTH116 - called for every file that is read
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, expected a file")
