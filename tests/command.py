"""The `dakpn` command as a user runs it: a process of its own, judged by its exit code and what it prints."""

import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

from tests.paths import REPOSITORY

CLI = [sys.executable, "-m", "workflows.cli"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would lead to a cluster of somebody else."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **more}


def dakpn(*arguments: str | Path, timeout: float = 240, **env: str) -> CompletedProcess[str]:
    """Run a command to its end."""
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
