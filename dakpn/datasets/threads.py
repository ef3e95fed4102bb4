"""Threads for work that leaves the interpreter lock: reading files, decoding, encoding and hashing images."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Generic, TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Item = TypeVar("_Item")
_LOOK_EVERY_S = 0.2
_GRACE_S = 2.0


def map_in_threads(
    function: Callable[[_In], _Out], items: Iterable[_In], threads: int, in_flight: int = 16
) -> Iterator[_Out]:
    """Like `map`, in order, with several calls at a time; at most `in_flight` items are held."""
    with ThreadPoolExecutor(threads) as pool:
        yield from map_in_pool(pool, function, items, in_flight)


def map_in_pool(
    pool: Executor, function: Callable[[_In], _Out], items: Iterable[_In], in_flight: int
) -> Iterator[_Out]:
    """Like `map_in_threads`, in threads that several such maps share."""
    running: deque[Future[_Out]] = deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) >= in_flight:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()


def call_ahead(calls: Iterable[Callable[[], _Out]], threads: int) -> Generator[Callable[[], _Out]]:
    """Start `threads` calls at a time, ahead of need; yield, in order, functions that wait for the results."""
    running: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for call in calls:
                running.append(pool.submit(call))
                if len(running) > threads:
                    yield running.popleft().result
            while running:
                yield running.popleft().result
        finally:
            for future in running:
                future.cancel()


class ReadAhead(Generic[_Item]):
    """Takes items from an iterator in a thread of its own, from the start on, and holds them up to a size.

    Use it in a `with` statement, at whose end the thread is gone, and iterate over it once. An item larger than the
    limit is held alone. What the iterator raises is raised to whom it is iterated by, after the items before it.

    Args:
        items: to be taken.
        size_of: an item, in the unit of the limit.
        limit: size of all items held.
        while_waiting: called a few times a second by who waits for an item; what it raises ends the waiting.
    """

    def __init__(
        self,
        items: Iterable[_Item],
        size_of: Callable[[_Item], int],
        limit: int,
        while_waiting: Callable[[], None] | None = None,
    ) -> None:
        self._items, self._size_of, self._limit = items, size_of, limit
        self._while_waiting = while_waiting
        self._held: deque[tuple[_Item, int]] = deque()
        self._size = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._fill, name="read-ahead", daemon=True)

    def __enter__(self) -> "ReadAhead[_Item]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        # Who is never given an item, by a reader that hangs, must not hold up the end of all else.
        self._thread.join(None if self._while_waiting is None else _GRACE_S)

    def __iter__(self) -> Iterator[_Item]:
        while True:
            while not self._is_ready():
                if self._while_waiting is not None:
                    self._while_waiting()
            with self._changed:
                if not self._held:
                    break
                item, size = self._held.popleft()
                self._size -= size
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def _is_ready(self) -> bool:
        """Whether there is an item, or the end; waits for it a fraction of a second."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._held or self._ended, _LOOK_EVERY_S))

    def _fill(self) -> None:
        try:
            for item in self._items:
                size = self._size_of(item)
                with self._changed:
                    self._changed.wait_for(
                        lambda size=size: self._stopped or not self._held or self._size + size <= self._limit
                    )
                    if self._stopped:
                        break
                    self._held.append((item, size))
                    self._size += size
                    self._changed.notify_all()
        except BaseException as error:  # for whoever iterates
            self._error = error
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()
