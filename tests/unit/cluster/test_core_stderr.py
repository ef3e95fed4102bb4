"""What is kept off the terminal while a job runs, and what is not."""

import subprocess
import sys

from tests.command import environment

_BLOCK = """
import os, subprocess, sys
from cluster.core_stderr import without_restart_warnings
warning = b"[core_worker.cc:2465] Actor has constructor arguments in the object store and max_restarts > 0. If ...\\n"
with without_restart_warnings():
    os.write(2, b"before\\n" + warning[:30])
    os.write(2, warning[30:] + b"another error of the core\\n")
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('a child, ')"])
    os.write(2, b"not a whole line")
print("", file=sys.stderr)
print("behind", file=sys.stderr)
"""
_PYTHONS_OWN = """
import sys
from cluster.core_stderr import without_restart_warnings
with without_restart_warnings():
    print("of Python", sys.stderr.fileno() == 2, file=sys.stderr)
sys.stderr.write("the same again" if sys.stderr.fileno() == 2 else "another")
"""


def stderr_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_one_message_of_the_core_is_dropped_and_every_other_byte_passes() -> None:
    assert stderr_of(_BLOCK).splitlines() == [
        "before",
        "another error of the core",
        "a child, not a whole line",
        "behind",
    ]


def test_python_writes_past_the_filter_and_has_its_stream_back() -> None:
    assert stderr_of(_PYTHONS_OWN) == "of Python False\nthe same again"
