"""Processes that tests start and kill: they, and all that they started, are gone afterwards."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import ray

from cluster.session import ray_session
from dakpn.errors import ClusterError
from tests.command import CLI, environment
from tests.paths import REPOSITORY

_RAY_STARTS = 4


def kill_midway(
    arguments: list[str | Path],
    midway: Callable[[], bool],
    log: Path,
    timeout: float = 120,
    by: signal.Signals = signal.SIGKILL,
    alone: bool = False,
    **env: str,
) -> int:
    """Start a `dakpn` command, end its process group by a signal once `midway` holds, and wait until all of it is gone.

    Args:
        arguments: Arguments of `dakpn`.
        midway: tells when to send the signal.
        log: gets what the command prints.
        timeout: seconds until it must be midway.
        by: the signal.
        alone: send it to the command's own process, as a container's runtime does, not to Ray's daemons too.
        env: environment variables, such as RAY_ADDRESS.

    Returns:
        Its exit code, or the negative number of the signal that ended it.

    Raises:
        AssertionError: the command ended before that, or took too long.
    """
    process = start(arguments, log, **env)
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


def start(arguments: list[str | Path], log: Path, **env: str) -> subprocess.Popen[bytes]:
    """Start a `dakpn` command as the leader of a process group of its own; see `end`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*CLI, *map(str, arguments)],
            env=environment(**env),
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


@contextmanager
def patient_ray_session(cpus: float) -> Iterator[None]:
    """A `ray_session` that is begun again if Ray gives up on its own start, as it does after half a minute.

    Ray's node waits for two daemons that import what a busy machine takes long to load, and its limit is no setting.
    """
    with ExitStack() as stack:
        for attempt in range(_RAY_STARTS):
            before = descendants(os.getpid())
            try:
                stack.enter_context(ray_session(cpus=cpus))
                break
            except ClusterError:
                if attempt + 1 == _RAY_STARTS:
                    raise
                ray.shutdown()
                _end({pid: began for pid, began in descendants(os.getpid()).items() if pid not in before}, patience=0)
        yield


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


def with_title(ancestor: int, title: str) -> list[int]:
    """Descendants of a process whose command line, which Ray sets to what they do, holds these words; in order."""
    return sorted(pid for pid in descendants(ancestor) if title in _title(pid))


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _end(family: dict[int, str], patience: float = 2) -> None:
    """Ray's daemons end with the process that started them; kill what does not."""
    deadline = time.monotonic() + patience
    while (left := [pid for pid, started in family.items() if _runs(pid, started)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        with suppress(ProcessLookupError):
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
