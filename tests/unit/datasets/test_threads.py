"""Work in threads keeps its order, its bounds and its errors."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from dakpn.datasets import threads
from dakpn.datasets.threads import ReadAhead, call_ahead, map_in_threads


def test_results_come_in_order_though_calls_end_in_another() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(map_in_threads(slow_at_first, range(50), threads=8)) == [n * n for n in range(50)]


def test_calls_are_made_ahead_in_bounds_and_give_their_results_or_errors_in_order() -> None:
    started: list[int] = []

    def call(number: int) -> int:
        started.append(number)
        if number == 7:
            raise ValueError(number)
        return number

    waits = call_ahead((partial(call, number) for number in range(20)), threads=4)
    first = next(waits)
    assert first() == 0
    assert len(started) <= 5
    rest = list(waits)
    assert [wait() for wait in rest[:6]] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="7"):
        rest[6]()
    assert [wait() for wait in rest[7:]] == list(range(8, 20))


def test_calls_that_nobody_waits_for_any_more_are_not_begun() -> None:
    started: list[int] = []

    def call(number: int) -> None:
        started.append(number)
        time.sleep(0.05)

    waits = call_ahead((partial(call, number) for number in range(100)), threads=2)
    next(waits)()
    waits.close()
    assert len(started) <= 5


def test_reading_ahead_starts_at_once_and_stops_at_its_limit() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with ReadAhead(items(), lambda item: 10, limit=35) as ahead:
        time.sleep(0.2)
        assert taken == [0, 1, 2, 3]  # three are held, the fourth waits for room
        assert list(ahead) == list(range(20))


def test_an_item_over_the_limit_passes_alone() -> None:
    with ReadAhead([100, 1, 100], lambda item: item, limit=5) as ahead:
        assert list(ahead) == [100, 1, 100]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with ReadAhead(items(), lambda item: 1, limit=5) as ahead:
        rows = iter(ahead)
        assert next(rows) == 1
        with pytest.raises(OSError, match="gone"):
            next(rows)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    with ReadAhead(iter(int, 1), lambda item: 1, limit=5) as ahead:
        assert next(iter(ahead)) == 0
    assert threading.active_count() == before


@pytest.fixture
def hanging() -> Iterator[Iterator[int]]:
    """Gives one number, and then nothing until the test is over."""
    over = threading.Event()

    def numbers() -> Iterator[int]:
        yield 1
        over.wait(60)

    yield numbers()
    over.set()


def test_who_waits_for_an_item_is_heard_from_and_may_end_the_waiting(
    hanging: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(threads, "_GRACE_S", 0.1)
    looks = []

    def look() -> None:
        looks.append(threading.current_thread())
        if len(looks) == 3:
            raise InterruptedError("enough")

    before = time.monotonic()
    with ReadAhead(hanging, lambda item: 1, limit=5, while_waiting=look) as ahead:
        items = iter(ahead)
        assert next(items) == 1
        looks.clear()  # of a start that was slow
        with pytest.raises(InterruptedError, match="enough"):
            next(items)
    assert looks == [threading.current_thread()] * 3
    assert time.monotonic() - before < 10  # the reader, which hangs for a minute, holds up nobody


def test_who_need_not_wait_hears_nothing() -> None:
    looks = []
    with ReadAhead(range(5), lambda item: 1, limit=5, while_waiting=lambda: looks.append(1)) as ahead:
        time.sleep(0.1)
        assert list(ahead) == list(range(5))
    assert looks == []


def test_the_generator_that_was_read_is_closed_at_the_end() -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    with ReadAhead(numbers(), lambda item: 1, limit=5) as ahead:
        assert next(iter(ahead)) == 1
    assert closed == ["read-ahead"]
