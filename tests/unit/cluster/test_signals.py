"""SIGTERM to a training: a checkpoint, whatever the loop is at, and then the end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from cluster.control_store import ControlStore, TrainingNotes, say_leaving
from cluster.signals import PATIENCE_VARIABLE, termination_notice
from dakpn.errors import TerminatedError, UsageError
from tests.command import environment
from tests.noticed_training import begun, checkpoints, fit, step_of
from tests.paths import REPOSITORY

pytestmark = pytest.mark.usefixtures("ray_here")


@contextmanager
def once(midway: Callable[[], bool], act: Callable[[], None], timeout: float = 60) -> Iterator[None]:
    """Run the block, and do something from another thread once `midway` holds."""
    over = threading.Event()

    def wait() -> None:
        deadline = time.monotonic() + timeout
        while not midway():
            if over.wait(0.02) or time.monotonic() > deadline:
                return
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def never_asks(workers: int) -> None:
    with termination_notice(workers):
        sigterm()
        time.sleep(30)


def store() -> ControlStore:
    return ControlStore(ray.get_runtime_context().gcs_address)


def trainings() -> list[TrainingNotes]:
    return TrainingNotes.all(store())


@pytest.mark.parametrize("stalled_after", [None, 1], ids=["slow steps", "stalled reader"])
def test_sigterm_ends_a_training_in_this_process_with_a_checkpoint(tmp_path: Path, stalled_after: int | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with once(lambda: step_of(tmp_path) >= 1, sigterm), pytest.raises(TerminatedError, match=r"step 1|step 2") as ended:
        fit(tmp_path, 0, 0.5, stalled_after)
    assert ended.value.exit_code == 143
    assert f"the checkpoint of step {checkpoints(tmp_path)[0]} is written" in str(ended.value)
    assert signal.getsignal(signal.SIGTERM) == before
    assert trainings() == []


def test_a_loop_that_never_asks_is_not_waited_for_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0.5")
    began = time.monotonic()
    with pytest.raises(TerminatedError, match=r"no checkpoint was written within 0\.5 s"):
        never_asks(0)
    assert time.monotonic() - began < 10


def test_a_driver_whose_own_node_goes_ends_as_after_sigterm() -> None:
    node = ray.get_runtime_context().get_node_id()

    def leave_and_ask() -> None:
        with termination_notice(0) as notice:
            (training,) = trainings()
            assert (training.node_id, training.is_over()) == (node, False)
            say_leaving(store(), node)
            deadline = time.monotonic() + 20
            while not notice.checkpoint_wanted(7):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            notice.checkpoint_written(7)

    try:
        with pytest.raises(TerminatedError, match="the checkpoint of step 7 is written"):
            leave_and_ask()
        assert trainings() == []
    finally:
        store().delete(f"leaving/{node}")


def test_before_any_worker_has_begun_sigterm_does_not_wait() -> None:
    began = time.monotonic()
    with pytest.raises(TerminatedError, match="since no worker has begun to train"):
        never_asks(1)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("workers", "step_s", "stalled_after"),
    [
        pytest.param(1, 2.0, None, marks=pytest.mark.slow),
        (2, 0.5, 1),
        pytest.param(2, 2.0, None, marks=pytest.mark.slow),
    ],
)
def test_sigterm_reaches_workers_in_slow_steps_and_those_that_wait_for_data(
    tmp_path: Path, workers: int, step_s: float, stalled_after: int | None
) -> None:
    sent: list[float] = []
    act = lambda: (sent.append(time.monotonic()), sigterm())  # noqa: E731
    with once(lambda: step_of(tmp_path) >= 1, act), pytest.raises(TerminatedError) as ended:  # pyright: ignore[reportArgumentType]
        fit(tmp_path, workers, step_s, stalled_after)
    assert time.monotonic() - sent[0] < 15
    (step,) = checkpoints(tmp_path)
    assert str(ended.value).startswith(f"ended by SIGTERM; the checkpoint of step {step} is written")
    if stalled_after:
        assert step == stalled_after


@pytest.mark.slow
def test_a_second_sigterm_ends_the_process_at_once(ray_here: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.noticed_training", str(tmp_path), "0", "60", ""]
    log = tmp_path / "log"
    with log.open("wb") as output:
        driver = subprocess.Popen(
            command, env=environment(RAY_ADDRESS=ray_here), cwd=REPOSITORY, stdout=output, stderr=output
        )
    try:
        for said in ("", "got SIGTERM"):
            deadline = time.monotonic() + 60
            while not begun(tmp_path) or said not in log.read_text():
                assert driver.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            driver.send_signal(signal.SIGTERM)
        assert driver.wait(5) == -signal.SIGTERM
        assert checkpoints(tmp_path) == []
    finally:
        driver.kill()
        driver.wait()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, text)
    with pytest.raises(UsageError, match=f"got {PATIENCE_VARIABLE}={text}; expected seconds above 0"):
        never_asks(0)
