"""How far long work has come, on stderr: a bar on a terminal, a line in the log now and then elsewhere."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

logger = logging.getLogger(__name__)

LINE_EVERY_S = 30.0
_SPEED_OVER_S = 600.0
"""Seconds that the bar's time left is estimated from: work that reports once a minute has a speed too."""


class ShowProgress(Protocol):
    """Shows how far the work is; call it as often as you like."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total`; `done` need not begin at 0. `note` is shown behind, such as a rate."""
        ...


@contextmanager
def progress(work: str, unit: str, line_every_s: float = LINE_EVERY_S) -> Iterator[ShowProgress]:
    """Give a function that shows progress while the block runs.

    Args:
        work: what is done, in a word: "checking".
        unit: what is counted: "images".
        line_every_s: seconds between two lines where there is no terminal.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(work, unit, line_every_s)
        return
    note_column = TextColumn("{task.fields[note]}", markup=False)
    columns = (TextColumn(work, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note_column)
    with Bar(*columns, console=console, transient=True, speed_estimate_period=_SPEED_OVER_S) as bar:
        task = bar.add_task(work, total=None, note="")

        def show(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield show


class _Lines:
    def __init__(self, work: str, unit: str, every_s: float) -> None:
        self._work, self._unit, self._every_s = work, unit, every_s
        self._last = time.monotonic()
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        began, done_then = self._first = self._first or (now, done)
        if now - self._last < self._every_s:
            return
        self._last = now
        parts = [f"{self._work}: {done} of {total} {self._unit}"]
        if done > done_then:
            parts.append(f"{_duration((total - done) * (now - began) / (done - done_then))} left")
        logger.info("%s", ", ".join([*parts, note] if note else parts))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def followed(work: str, unit: str, every_s: float, look: Callable[[ShowProgress], None]) -> Iterator[None]:
    """Show the progress of work that others do while the block runs: `look` finds it out now and then, in a thread.

    Args:
        work: as for `progress`.
        unit: as for `progress`.
        every_s: seconds from one look to the next.
        look: shows how far it is; what it raises ends the progress, not the work.
    """
    done = threading.Event()
    with progress(work, unit) as show:

        def follow() -> None:
            while not done.wait(every_s):
                look(show)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
