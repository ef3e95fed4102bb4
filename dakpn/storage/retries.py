"""Try again what a server or the network failed at for a moment: the one layer of retries there is.

The S3 client's own retries are off. Two more layers below (botocore's and s3fs's) would multiply the attempts, log
nothing, and cannot repeat a download that was cut in its body.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dakpn.storage.errors import reason, remote_errors, s3_answer
from dakpn.storage.options import load_options

logger = logging.getLogger(__name__)

T = TypeVar("T")
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 20.0
_LOG_EVERY_S = 60.0
_TRANSIENT_CODES = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "RequestTimeout"}
)
_TRANSIENT_STATUS = frozenset({429, 500, 502, 503, 504})


class ShortReadError(OSError):
    """Fewer bytes came than the file has, or those of another version of it."""


def retried(act: Callable[[], T], what: str) -> T:
    """Return `act()`, repeated while it fails for a moment only: pauses grow, and each is drawn from 0 to its bound.

    Many workers that a server turned away at once thus come back spread out. The options bound the attempts and the
    time in which one may begin.

    Args:
        act: Something that may be done twice.
        what: Names it in the log.

    Raises:
        Exception: Whatever `act` raised last.
    """
    options = load_options()
    start = time.monotonic()
    for attempt in range(1, options.max_attempts):
        try:
            return act()
        except Exception as error:
            bound = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
            pause = random.uniform(0, bound)  # noqa: S311 - spreads load, guards nothing
            if not is_transient(error) or time.monotonic() + pause - start > options.max_retry_s:
                raise
            _log.retry(f"{what}: {reason(error)}", attempt, options.max_attempts)
            time.sleep(pause)
    return act()


def is_transient(error: Exception) -> bool:
    """Tell whether the same request may succeed in a moment: throttling, 5xx, a connection lost or not made."""
    code, status = s3_answer(error)
    if code or status:
        return code in _TRANSIENT_CODES or status in _TRANSIENT_STATUS
    if isinstance(error, ShortReadError | ConnectionError | TimeoutError):
        return True
    lasting = ("SSLError", "InvalidURL")
    names = {kind.__name__ for kind in type(error).__mro__}
    network = {
        "HTTPClientError",
        "ConnectionError",
        "ResponseParserError",
        "ClientPayloadError",
        "ClientConnectionError",
    }
    return isinstance(error, remote_errors()) and bool(names & network) and not names.intersection(lasting)


class _RetryLog:
    """One line a minute at most: a store in trouble fails for every worker at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: float | None = None
        self._unsaid = 0

    def retry(self, what: str, attempt: int, attempts: int) -> None:
        with self._lock:
            now = time.monotonic()
            if self._last is not None and now - self._last < _LOG_EVERY_S:
                self._unsaid += 1
                return
            more = f", and {self._unsaid} more since the last such line" if self._unsaid else ""
            self._last, self._unsaid = now, 0
        logger.info("storage: trying again after attempt %d of %d to %s%s", attempt, attempts, what, more)


_log = _RetryLog()
