import itertools
import time
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, SSLError
from s3fs.errors import translate_boto_error

from dakpn.storage import retries
from dakpn.storage.retries import ShortReadError, is_transient, retried


def answered(status: int, code: str) -> Exception:
    """The error that s3fs makes of a server's answer."""
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(ClientError(response, "GetObject"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "error",
    [
        answered(503, "SlowDown"),
        answered(503, "503"),  # an answer to HEAD has no body
        answered(429, "TooManyRequests"),
        answered(500, "InternalError"),
        answered(502, "BadGateway"),
        answered(400, "RequestTimeout"),
        ConnectionResetError("reset"),
        TimeoutError(),
        ShortReadError("short"),
        EndpointConnectionError(endpoint_url="http://x"),
        ConnectTimeoutError(endpoint_url="http://x"),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        answered(403, "AccessDenied"),
        answered(403, "403"),
        answered(403, "RequestTimeTooSkewed"),
        answered(404, "NoSuchBucket"),
        answered(404, "NoSuchKey"),
        answered(400, "InvalidArgument"),
        answered(411, "MissingContentLength"),
        answered(501, "NotImplemented"),
        NoCredentialsError(),
        SSLError(endpoint_url="https://x", error="certificate verify failed"),
        FileNotFoundError("x"),
        PermissionError("x"),
        ValueError("a bug"),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_not(error: Exception) -> None:
    assert not is_transient(error)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, without sleeping."""
    slept: list[float] = []
    clock = itertools.count()
    monkeypatch.setattr(retries.time, "sleep", slept.append)
    monkeypatch.setattr(retries.time, "monotonic", lambda: next(clock) * 0.001 + sum(slept))
    return slept


def failing(times: int, error: Exception) -> Callable[[], int]:
    """An act that fails so often, and then returns how often it was done."""
    numbers = itertools.count(1)

    def act() -> int:
        if (number := next(numbers)) <= times:
            raise error
        return number

    return act


def test_pauses_grow_and_are_drawn_from_zero_to_their_bound(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(retries.random, "uniform", highest)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    assert retried(failing(8, answered(503, "SlowDown")), "x") == 9
    assert [low for low, _ in bounds] == [0] * 8
    assert pauses == pytest.approx([0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20, 20])


def test_the_last_error_comes_out_when_the_attempts_are_used_up(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    act = failing(3, ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        retried(act, "x")
    assert (len(pauses), act()) == (2, 4)


def test_none_begins_after_the_time_is_up(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries.random, "uniform", lambda _, high: high)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "20")
    with pytest.raises(TimeoutError):
        retried(failing(99, TimeoutError()), "x")
    assert 90 < sum(pauses) <= 120


def test_what_lasts_is_done_once(pauses: list[float]) -> None:
    act = failing(1, answered(403, "AccessDenied"))
    with pytest.raises(PermissionError):
        retried(act, "x")
    assert (pauses, act()) == ([], 2)


def test_the_log_says_once_a_minute_what_was_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.monotonic()
    log = retries._RetryLog()
    with caplog.at_level("INFO", logger="dakpn.storage"):
        for second in (0, 1, 59, 61):
            monkeypatch.setattr(retries.time, "monotonic", lambda second=second: now + second)
            log.retry("read s3://b/k: slow down", 1, 6)
    assert [record.getMessage() for record in caplog.records] == [
        "storage: trying again after attempt 1 of 6 to read s3://b/k: slow down",
        "storage: trying again after attempt 1 of 6 to read s3://b/k: slow down, and 2 more since the last such line",
    ]
