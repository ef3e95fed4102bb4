"""Side-by-side measurement: alternated runs, medians of CPU time, peak memory in a process of its own."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


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


def alternate(contestants: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: bool = True) -> dict[str, float]:
    """Median CPU seconds of each contestant; the contestants take turns, so that noise hits all alike."""
    if warm_up:
        for work in contestants.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            before = time.process_time()
            work()
            seconds[name].append(time.process_time() - before)
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


def _send_peak(work: Callable[[], Any], prepare: Callable[[], Any], sender: Any) -> None:
    prepare()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = _memory("VmRSS")
    work()
    sender.send(_memory("VmHWM") - before)


def _memory(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
