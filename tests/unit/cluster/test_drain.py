"""The hook of a pod that goes: it finds Ray, never waits for a head that is gone, and ends what will not end."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from cluster.drain import Process, Raylet, end_ray, processes, raylets, save_work
from tests.command import environment
from tests.paths import REPOSITORY

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def hook(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster.drain", *arguments]
    return subprocess.run(
        command, env=environment(), cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )


def test_without_ray_the_hook_says_so_and_ends_well(tmp_path: Path) -> None:
    done = hook("--node-id", "none", "--log", str(tmp_path / "log"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("dakpn drain: found 0 processes of Ray, expected that of node none")
    assert hook("--node-id", "none", "--log", "/nowhere/log").returncode == 0


def test_a_head_that_is_gone_is_not_waited_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(OSError, match="refused"):
        save_work(Raylet(os.getpid(), "0" * 56, address, is_head=False), 5)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(("name", "by"), [("polite", signal.SIGTERM), ("stubborn", signal.SIGKILL)])
def test_what_does_not_end_in_time_is_killed(name: str, by: signal.Signals) -> None:
    program = STUBBORN if name == "stubborn" else "import time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        node = processes(Raylet(process.pid, "", "", is_head=False))
        assert [part.pid for part in node] == [process.pid]  # its parent, these tests, is no `ray start`
        end_ray(node, patience_s=0.5)
        assert process.wait(5) == -by


def test_a_later_process_of_the_same_number_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        Process(process.pid, "1").send(signal.SIGKILL)
        (itself,) = processes(Raylet(process.pid, "", "", is_head=False))
        assert itself.runs
        itself.send(signal.SIGKILL)
        assert process.wait(5) == -signal.SIGKILL
        assert not itself.runs


def test_a_head_that_never_answers_costs_no_more_than_the_limit() -> None:
    """A port that listens and says nothing, and a process that the hook takes for a raylet."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address, node_id = f"127.0.0.1:{silent.getsockname()[1]}", uuid.uuid4().hex
        program = "import time; print('up', flush=True); time.sleep(60)"
        words = ["raylet", "-c", program, f"--node_id={node_id}", f"--gcs-address={address}"]
        with subprocess.Popen(words, executable=sys.executable, stdout=subprocess.PIPE) as raylet:
            assert raylet.stdout
            assert raylet.stdout.readline() == b"up\n"
            began = time.monotonic()
            done = hook("--node-id", node_id, "--limit", "2")
            assert time.monotonic() - began < 8
            assert done.returncode == 0
            assert "no checkpoint within 2 s" in done.stderr
            assert "Traceback" not in done.stderr
            assert raylet.wait(5) == -signal.SIGTERM


def test_the_hook_prints_where_ray_start_does(tmp_path: Path) -> None:
    """Which is the container's log, whatever process 1 is; here a process of that name with a child called raylet."""
    node_id = uuid.uuid4().hex
    words = ["raylet", "-c", "import time; time.sleep(60)", f"--node_id={node_id}", "--gcs-address=127.0.0.1:9"]
    program = f"import subprocess; subprocess.run({words}, executable={sys.executable!r})"
    log = tmp_path / "container"
    with log.open("wb") as stderr:
        start = subprocess.Popen(["ray", "-c", program, "start"], executable=sys.executable, stderr=stderr)
        try:
            deadline = time.monotonic() + 60
            while not any(raylet.node_id == node_id for raylet in raylets()):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            done = hook("--node-id", node_id, "--log", "container")
            assert (done.returncode, done.stderr) == (0, "")
            start.wait(5)
        finally:
            start.kill()
    assert f"node {node_id[:8]} goes" in log.read_text()
    assert "ended after" in log.read_text()
