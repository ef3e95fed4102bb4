"""Keeps a known, harmless message of Ray's core off the terminal.

Ray Data hands its actors the function they apply as an object in the object store, and lets them be restarted without
limit, which a job of shards relies on. Ray's core prints an error for each such actor: a restart would fail if the
object were gone. It is not gone: the driver holds it as long as the stream runs, and without its driver the job ends.
Ray Data has no setting for either. The core is C++ and writes to file descriptor 2 past Python's logging, and its only
setting is a level that would silence all of its errors, in every process of a local Ray; so the lines on their way to
that descriptor are looked at, and those of this message alone are dropped.
"""

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_HARMLESS = b" has constructor arguments in the object store and max_restarts > 0. "
_STDERR = 2
_REST_WITHIN_S = 2.0
_BYTES = 1 << 16


@contextmanager
def without_restart_warnings() -> Iterator[None]:
    """Run the block with the message kept off this process's stderr; every other byte that is written there passes.

    Python's own `sys.stderr` writes to the terminal directly meanwhile, so that it still is one to progress bars.
    """
    terminal = os.dup(_STDERR)
    reader, writer = os.pipe()
    passing = threading.Thread(target=_pass_on, args=(reader, terminal), name="core stderr", daemon=True)
    before, direct = sys.stderr, _direct(terminal)
    os.dup2(writer, _STDERR)
    os.close(writer)
    passing.start()
    if direct is not None:
        sys.stderr = direct
    try:
        yield
    finally:
        if direct is not None:
            sys.stderr = before
            direct.close()
        os.dup2(terminal, _STDERR)  # the pipe's last writer, unless a child process holds it; then the thread goes on
        passing.join(_REST_WITHIN_S)


def _direct(terminal: int) -> TextIO | None:
    """A text stream to the terminal; None where `sys.stderr` is not file descriptor 2, as in a notebook."""
    try:
        if sys.stderr.fileno() != _STDERR:
            return None
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file, or it is closed
        return None
    sys.stderr.flush()
    binary = os.fdopen(os.dup(terminal), "wb", buffering=0)
    return io.TextIOWrapper(binary, sys.stderr.encoding, sys.stderr.errors, write_through=True)


def _pass_on(reader: int, terminal: int) -> None:
    """Copy what comes, whole lines at a time, until nobody can write any more."""
    rest = b""
    try:
        while more := os.read(reader, _BYTES):
            *lines, rest = (rest + more).split(b"\n")
            _write(terminal, b"".join(line + b"\n" for line in lines if _HARMLESS not in line))
        _write(terminal, rest)
    finally:
        os.close(reader)
        os.close(terminal)


def _write(terminal: int, data: bytes) -> None:
    while data:
        data = data[os.write(terminal, data) :]
