"""Threads for work that leaves the interpreter lock: reading files, decoding and hashing images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def map_in_threads(
    function: Callable[[_In], _Out], items: Iterable[_In], threads: int, in_flight: int = 16
) -> Iterator[_Out]:
    """Like `map`, in order, with several calls at a time; at most `in_flight` items are held."""
    running: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) >= in_flight:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
