"""Pods that go: a head without CPUs and nodes as processes, and the hook that Kubernetes would run in each."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.drain import Raylet, raylets
from tests.command import environment
from tests.drained_readers import BLOCKS
from tests.noticed_training import begun, checkpoints, step_of
from tests.paths import REPOSITORY
from tests.processes import descendants, end
from tests.ray_head import RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_PATIENCE_S = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(2, 2) as cluster:
        yield cluster


def started(cluster: RayCluster, log: Path, *command: str) -> subprocess.Popen[bytes]:
    access = {**cluster.access, "RAY_AUTH_MODE": "token", "RAY_ADDRESS": cluster.gcs}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment(**access),
            stdout=output,
            stderr=output,
            cwd=REPOSITORY,
            start_new_session=True,
        )


def until(holds: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def raylet_of(node: subprocess.Popen[bytes]) -> Raylet:
    family = descendants(node.pid)
    (found,) = (raylet for raylet in raylets() if raylet.pid in family)
    return found


def node_called(cluster: RayCluster, node_id: str) -> subprocess.Popen[bytes]:
    (found,) = (node for node in cluster.nodes if node.poll() is None and raylet_of(node).node_id == node_id)
    return found


def begin_hook(cluster: RayCluster, node: subprocess.Popen[bytes], log: Path) -> subprocess.Popen[bytes]:
    return started(cluster, log, "cluster.drain", "--node-id", raylet_of(node).node_id)


def wait_for_hook(hook: subprocess.Popen[bytes], node: subprocess.Popen[bytes], log: Path) -> None:
    """See that a hook ends well, and its node with it."""
    assert hook.wait(_PATIENCE_S) == 0
    node.wait(2)
    assert "Traceback" not in log.read_text()


def run_hook(cluster: RayCluster, node: subprocess.Popen[bytes], log: Path) -> float:
    """Run the hook of a node to its end, and return the seconds that it took."""
    began = time.monotonic()
    wait_for_hook(begin_hook(cluster, node, log), node, log)
    return time.monotonic() - began


def drain(cluster: RayCluster, node_id: str) -> None:
    """In a process of its own: this one may hold a Ray without a token."""
    program = (
        f"from cluster.control_store import ControlStore; ControlStore({cluster.gcs!r}).drain({node_id!r}, 60, '')"
    )
    access = {**cluster.access, "RAY_AUTH_MODE": "token"}
    subprocess.run([sys.executable, "-c", program], env=environment(**access), cwd=REPOSITORY, check=True, timeout=30)


def test_tasks_of_a_stream_on_a_node_that_goes_are_done_by_others(cluster: RayCluster, tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "read"
    folder.mkdir()
    reading = started(cluster, log, "tests.drained_readers", str(folder))

    def readers() -> set[str]:
        return {path.name.partition("-")[2] for path in folder.glob("*-*")}

    try:
        until(lambda: len(readers()) == 2, reading, log)
        time.sleep(1.5)  # now blocks of both nodes are on their way
        (leaving,) = readers() - {(folder / "consumer").read_text()}
        begun_before = len(list(folder.glob("*-*")))
        assert begun_before < BLOCKS
        run_hook(cluster, node_called(cluster, leaving), tmp_path / "hook")
        assert reading.wait(_PATIENCE_S) == 0, log.read_text()
        assert " ".join(map(str, range(BLOCKS))) in log.read_text().splitlines()
    finally:
        end(reading)


def test_a_training_saves_before_a_pod_goes_and_goes_on_elsewhere_until_the_head_goes(
    cluster: RayCluster, tmp_path: Path
) -> None:
    """Rank 0 waits for data for ever, the other takes slow steps; a failure that counted would end it."""
    log = tmp_path / "log"
    training = started(cluster, log, "tests.noticed_training", str(tmp_path), "2", "2", "1")
    try:
        until(lambda: step_of(tmp_path) == 1, training, log)
        first = begun(tmp_path)[0]
        assert run_hook(cluster, node_called(cluster, first), tmp_path / "hook") < 20
        assert "saved 1" in (tmp_path / "hook").read_text()
        assert checkpoints(tmp_path) == [1]

        cluster.add_node(2)
        until(lambda: 1 in begun(tmp_path) and step_of(tmp_path) == 2, training, log)
        second = begun(tmp_path)[1]
        assert second != first
        drain(cluster, second)
        drained = time.monotonic()
        until(lambda: checkpoints(tmp_path) == [1, 2], training, log)
        assert time.monotonic() - drained < 10
        before = step_of(tmp_path, rank=1)
        until(lambda: step_of(tmp_path, rank=1) > before, training, log)  # goes on while the node is there

        # A job that is deleted: KubeRay stops it, and all pods begin to go at the same time.
        (tmp_path / "step-2").unlink()
        deleted = time.monotonic()
        training.send_signal(signal.SIGTERM)
        nodes = [cluster.process, node_called(cluster, second)]
        logs = [tmp_path / "hook_of_head", tmp_path / "hook_of_worker"]
        hooks = [begin_hook(cluster, node, to) for node, to in zip(nodes, logs, strict=True)]
        assert training.wait(20) == 143, log.read_text()
        for hook, node, to in zip(hooks, nodes, logs, strict=True):
            wait_for_hook(hook, node, to)
        assert time.monotonic() - deleted < 30
        assert checkpoints(tmp_path) == [1, 2]
        assert "ended by SIGTERM; the checkpoint of step 2 is written" in log.read_text()
        ours = [line for line in log.read_text().splitlines() if "(TrainController" not in line]
        assert not [line for line in ours if "Traceback" in line]
    finally:
        end(training)
