"""The `dakpn` command as a user runs it, judged by its exit code and by what it prints."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from tests.paths import REPOSITORY
from workflows.__main__ import main

CLI = [sys.executable, "-m", "workflows"]
_LOGGERS = [logging.getLogger(name) for name in ("dakpn", "workflows", "cluster")]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would lead to a cluster of somebody else."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **more}


def dakpn(*arguments: str | Path, cwd: Path = REPOSITORY, **env: str) -> CompletedProcess[str]:
    """Run a command to its end in this process, with the Ray of this process if there is one.

    An error that the command does not turn into a sentence reaches the test as it is.
    """
    words = [CLI[-1], *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, env), mock.patch.object(sys, "argv", words), _loggers_restored():
        for name in {"COLUMNS", "RAY_ADDRESS"} - env.keys():
            os.environ.pop(name, None)
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code()
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())


def _exit_code() -> int:
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


@contextlib.contextmanager
def _loggers_restored() -> Iterator[None]:
    """The command adds a handler for its stderr, and lets logs of level INFO through."""
    before = [(logger.level, list(logger.handlers)) for logger in _LOGGERS]
    try:
        yield
    finally:
        for logger, (level, handlers) in zip(_LOGGERS, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers


def dakpn_process(*arguments: str | Path, timeout: float = 240, **env: str) -> CompletedProcess[str]:
    """Run a command to its end in a process of its own, with a Ray of its own unless RAY_ADDRESS is given."""
    command = [*CLI, *map(str, arguments)]
    return subprocess.run(
        command, env=environment(**env), capture_output=True, text=True, timeout=timeout, cwd=REPOSITORY, check=False
    )


def assert_failed(done: CompletedProcess[str], code: int, *expected: str) -> str:
    """The command ended with this code and one sentence that holds the words expected; returns the sentence."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("dakpn:")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.rstrip().splitlines()[-1] == sentences[0], done.stderr
    for words in expected:
        assert words in sentences[0], sentences[0]
    assert done.stdout == ""
    return sentences[0]
