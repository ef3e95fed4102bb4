"""Ctrl-C and SIGTERM while Ray Tune runs a sweep: its state is kept, whenever they come."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dakpn.errors import TerminatedError

logger = logging.getLogger(__name__)

_HOW_TO_GO_ON = "the sweep's state is kept: the same command goes on where this one stopped"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SweepStop:
    """A stop that a signal to this process asks for."""

    def __init__(self) -> None:
        self._asked: signal.Signals | None = None
        self._tuning = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. Ray Tune ends in order at SIGUSR1; elsewhere, and the second time, this ends at once."""
        first, self._asked = self._asked is None, signal.Signals(number)
        if first and self._tuning and callable(signal.getsignal(signal.SIGUSR1)):
            logger.info("got %s: keeping the sweep's state", self._asked.name)
            signal.raise_signal(signal.SIGUSR1)
            return
        raise KeyboardInterrupt  # while Ray waits, it drops whatever else a handler raises

    @contextmanager
    def heeded_by_ray_tune(self) -> Iterator[None]:
        """Run the block, `Tuner.fit()`, which a signal ends in order; it then returns as if nothing had happened.

        Raises:
            KeyboardInterrupt, TerminatedError: a signal came.
        """
        self._tuning = True
        try:
            yield
        finally:
            self._tuning = False
        self.raise_if_asked()

    def raise_if_asked(self) -> None:
        """End the work if a signal came.

        Raises:
            KeyboardInterrupt: it was Ctrl-C.
            TerminatedError: it was SIGTERM.
        """
        if self._asked == signal.SIGINT:
            raise KeyboardInterrupt
        if self._asked == signal.SIGTERM:
            raise TerminatedError(f"ended by SIGTERM; {_HOW_TO_GO_ON}")


@contextmanager
def sweep_stop() -> Iterator[SweepStop]:
    """Run the block, a sweep, with Ctrl-C and SIGTERM as requests to keep its state and end.

    Outside of the main thread signals are left alone.
    """
    stop = SweepStop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    at_usr1 = signal.getsignal(signal.SIGUSR1)
    try:
        yield stop
    except KeyboardInterrupt:
        stop.raise_if_asked()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGUSR1, at_usr1)
