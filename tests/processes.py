"""Processes that tests start and kill: they, and all that they started, are gone afterwards."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.command import CLI, environment
from tests.paths import REPOSITORY


def kill_midway(
    arguments: list[str | Path],
    midway: Callable[[], bool],
    log: Path,
    timeout: float = 120,
    by: signal.Signals = signal.SIGKILL,
    alone: bool = False,
) -> int:
    """Start a `dakpn` command, end its process group by a signal once `midway` holds, and wait until all of it is gone.

    Args:
        arguments: of `dakpn`.
        midway: tells when to send the signal.
        log: gets what the command prints.
        timeout: seconds until it must be midway.
        by: the signal.
        alone: send it to the command's own process, as a container's runtime does, not to Ray's daemons too.

    Returns:
        Its exit code, or the negative number of the signal that ended it.

    Raises:
        AssertionError: the command ended before that, or took too long.
    """
    process = start(arguments, log)
    family: dict[int, str] = {}
    try:
        deadline = time.monotonic() + timeout
        while not midway():
            assert process.poll() is None, (
                f"ended with {process.returncode} before it could be killed: {log.read_text()}"
            )
            assert time.monotonic() < deadline, f"did not get midway within {timeout} s: {log.read_text()}"
            time.sleep(0.005)
        family = descendants(process.pid)
        (os.kill if alone else os.killpg)(process.pid, by)
        return process.wait(60)
    finally:
        end(process, family)


def start(arguments: list[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Start a `dakpn` command as the leader of a process group of its own; see `end`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*CLI, *map(str, arguments)],
            env=environment(),
            stdout=output,
            stderr=output,
            cwd=REPOSITORY,
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )


def end(process: subprocess.Popen[bytes], family: dict[int, str] | None = None) -> None:
    """Kill a started command if it still runs, and wait until all of its `descendants` are gone."""
    family = descendants(process.pid) | (family or {})
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _end(family)


def _heed_interrupts() -> None:
    """A background job of a shell script ignores Ctrl-C, and all that it starts inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def descendants(pid: int) -> dict[int, str]:
    """Children of a process, theirs and so on: pid -> start time, which tells a pid from a later one of its number."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (status := _status(int(folder.name))):
            children.setdefault(int(status[1]), []).append(int(folder.name))
    found: dict[int, str] = {}
    pending = [pid]
    while pending:
        for child in children.get(pending.pop(), []):
            if status := _status(child):
                found[child] = status[19]
                pending.append(child)
    return found


def _end(family: dict[int, str], patience: float = 2) -> None:
    """Ray's daemons end with the process that started them; kill what does not."""
    deadline = time.monotonic() + patience
    while (left := [pid for pid, started in family.items() if _runs(pid, started)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def _runs(pid: int, started: str) -> bool:
    status = _status(pid)
    return status is not None and status[19] == started and status[0] != "Z"


def _status(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: [0] state, [1] parent, [19] start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
