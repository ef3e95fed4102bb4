"""Side-by-side measurement: alternated runs, medians of CPU time, peak memory in a process of its own."""

import multiprocessing
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_LOOK_EVERY_S = 0.1


class Claim(NamedTuple):
    """One line of the table.

    Attributes:
        claim: what is compared with what.
        target: the ratio to reach, as text with its direction.
        measured: the ratio.
        reached: whether the target is met.
        details: seconds, bytes and settings behind the ratio.
    """

    claim: str
    target: str
    measured: float
    reached: bool
    details: dict[str, Any]


def at_least(claim: str, target: float, measured: float, **details: Any) -> Claim:
    """A claim whose ratio should be high."""
    return Claim(claim, f">= {target:g}", measured, measured >= target, details)


def at_most(claim: str, target: float, measured: float, **details: Any) -> Claim:
    """A claim whose ratio should be low."""
    return Claim(claim, f"<= {target:g}", measured, measured <= target, details)


def alternate(
    contestants: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    warm_up: bool = True,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median seconds, of CPU by default, of each contestant; they take turns, so that noise hits all alike."""
    if warm_up:
        for work in contestants.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            before = clock()
            work()
            seconds[name].append(clock() - before)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_bytes(work: Callable[[], Any], prepare: Callable[[], Any]) -> int:
    """How far `work` raises resident memory at its peak, in a fresh process that has done `prepare` before (Linux)."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(work, prepare, sender))
    process.start()
    peak = receiver.recv()
    process.join()
    return max(peak, 1)


class TreePeak(NamedTuple):
    """The most bytes that processes held at a time: of their own, and in shared memory such as Ray's object store."""

    own: int
    shared: int


def peak_tree_bytes(command: Sequence[str]) -> TreePeak:
    """The most memory that a command and its children hold at a time (Linux); what they share counts once.

    Raises:
        CalledProcessError: the command failed.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        tree, own, shared = psutil.Process(process.pid), 0, 0
        while process.poll() is None:
            held = _tree_bytes(tree)
            own, shared = max(own, held.own), max(shared, held.shared)
            time.sleep(_LOOK_EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return TreePeak(own, shared)


def _tree_bytes(tree: psutil.Process) -> TreePeak:
    own = shared = 0
    with suppress(psutil.NoSuchProcess):
        for process in (tree, *tree.children(recursive=True)):
            with suppress(OSError, KeyError):  # it has ended meanwhile
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                sizes = {
                    name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines[1:])
                }
                own += sizes["Pss_Anon"] + sizes["Pss_File"]
                shared += sizes["Pss_Shmem"]
    return TreePeak(own, shared)


def _send_peak(work: Callable[[], Any], prepare: Callable[[], Any], sender: Any) -> None:
    prepare()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = _memory("VmRSS")
    work()
    sender.send(_memory("VmHWM") - before)


def _memory(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
