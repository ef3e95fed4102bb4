"""Local files that are there whole or not at all."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dakpn.storage.leftovers import temporary_file


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
