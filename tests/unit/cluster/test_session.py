"""A session ends with nothing of it left behind, whatever ended it."""

import subprocess
import sys
import time

import pytest

from cluster import session
from tests.command import environment

_INTERRUPTED_AMID_A_STREAM = """
import threading
import ray
from cluster.session import interruptible, ray_session

still_open, shutdown = [], ray.shutdown

def watched_shutdown():
    still_open.extend(thread.name for thread in threading.enumerate() if thread.name.startswith("iter"))
    shutdown()

def consume():
    stream = ray.data.range(1000, override_num_blocks=20).iter_batches(batch_size=10, prefetch_batches=4)
    for number, _ in enumerate(stream):
        if number == 3:
            print(*(thread.name for thread in threading.enumerate() if thread.name.startswith("iter")))
            raise SystemExit(1)

ray.shutdown = watched_shutdown
try:
    with ray_session(cpus=2), interruptible():
        consume()
except KeyboardInterrupt:
    print("interrupted beside", still_open)
"""


@pytest.mark.slow
def test_no_stream_is_open_when_ray_goes() -> None:
    """Its thread would ask Ray for the next block, and Ray would end the process with a code of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_AMID_A_STREAM],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    opened, ended = done.stdout.splitlines()
    assert opened  # the stream has a thread, or this shows nothing
    assert ended == "interrupted beside []"


def test_a_start_that_takes_long_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(**_: object) -> None:
        time.sleep(0.3)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(session.ray, "init", slow)
    monkeypatch.setattr(session, "_SLOW_S", 0.05)
    monkeypatch.setattr(session, "_TOLD_EVERY_S", 0.1)
    caplog.set_level("INFO", "cluster")
    session._start_local(1)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) >= 2
    assert all(line.startswith("still waiting for the processes of a Ray on this machine to start") for line in told)
    caplog.clear()
    monkeypatch.setattr(session, "_SLOW_S", 5.0)
    session._start_local(1)
    assert caplog.records == []
