"""The translation job under many kills: the bytes of an undisturbed run, nothing lost, no orphans."""

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from dakpn import storage
from dakpn.errors import DataError
from dakpn.translation.job_report import read_report
from tests.command import CLI, environment
from tests.paths import REPOSITORY
from tests.translations import SHARDS, arguments, finished, job, outputs, translators
from workflows import translate, translation_on_ray
from workflows.translation_on_ray import MOST_ATTEMPTS

_KILLS = 20
_SEED = 7
_numbers = count()


class _Nodes:
    """A cluster of processes: a head without CPUs, where drivers live, and two worker nodes."""

    def __init__(self) -> None:
        settings = {"metrics_report_interval_ms": 500, "health_check_initial_delay_ms": 1000}
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "_system_config": settings, "dashboard_agent_listen_port": _free_port()},
        )
        for _ in range(2):
            self.add()

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def nodes(self) -> list[Any]:
        return sorted(self._cluster.worker_nodes, key=lambda node: node.unique_id)

    def add(self) -> None:
        self._cluster.add_node(num_cpus=1, metrics_export_port=_free_port())

    def replace(self, node: Any) -> None:
        """Kill all processes of a node, and bring another."""
        raylet = node.all_processes["raylet"][0].process
        self._cluster.remove_node(node, allow_graceful=False)
        assert raylet.wait(30) == -signal.SIGKILL
        self.add()

    def workers(self) -> list[int]:
        """Processes that hold a `ShardTranslator`."""
        return sorted(pid for node in self.nodes for pid in translators(_raylet(node)))

    def shut_down(self) -> None:
        self._cluster.shutdown()


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def nodes() -> Iterator[_Nodes]:
    made = _Nodes()
    try:
        yield made
    finally:
        made.shut_down()


def _start(nodes: _Nodes, command: list[str], log: Path) -> subprocess.Popen:
    with log.open("ab") as output:
        return subprocess.Popen(
            [*CLI, *command], env=environment(RAY_ADDRESS=nodes.address), cwd=REPOSITORY, stdout=output, stderr=output
        )


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_kills_of_workers_nodes_and_drivers_at_random_moments(
    nodes: _Nodes,
    weights: str,
    many_shards: str,
    undisturbed: dict[str, str],
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    draw = random.Random(_SEED)  # noqa: S311 - no secret
    kinds = ["worker", "node", "driver", *draw.choices(["worker", "node", "driver"], [4, 2, 2], k=_KILLS - 3)]
    restarts = 0
    while kinds:
        out = tmp_path / f"out{next(_numbers)}"
        while not (out / "_SUCCESS").exists():
            log = tmp_path / f"log{next(_numbers)}"
            driver = _start(nodes, arguments(weights, many_shards, out, "workers=[1,2]"), log)
            while kinds and _wait_for_work(nodes, driver, out, draw):
                kind = kinds.pop()
                _kill(kind, nodes, driver, draw)
                say(f"{_KILLS - len(kinds)} of {_KILLS}: {kind} killed with {finished(out)} of {SHARDS} shards done")
            assert driver.wait(900) in (0, -signal.SIGKILL), log.read_text()
            restarts += read_report(str(out)).restarts
        assert outputs(out) == undisturbed
        assert not storage.delete_leftovers(str(out))
    assert restarts > 0


def _wait_for_work(nodes: _Nodes, driver: subprocess.Popen, out: Path, draw: random.Random) -> bool:
    """Wait for a worker, and mostly for another finished shard, then for a random moment; False if the job ended."""
    more = finished(out) + draw.choice([0, 1, 1, 1])
    while driver.poll() is None and not (nodes.workers() and finished(out) >= more):
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 2))
    return driver.poll() is None


def _kill(kind: str, nodes: _Nodes, driver: subprocess.Popen, draw: random.Random) -> None:
    workers = nodes.workers()
    if kind == "node":
        at_work = [node for node in nodes.nodes if translators(_raylet(node))]
        nodes.replace(draw.choice(at_work or nodes.nodes))
    elif kind == "worker" and workers:
        os.kill(draw.choice(workers), signal.SIGKILL)
    else:
        driver.kill()
        driver.wait()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_shard_that_ends_every_worker_fails_alone(
    ray_here: str,
    weights: str,
    many_shards: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    say: Callable[[str], None],
) -> None:
    """As the kernel ends the largest process when memory runs out."""
    poison, killed = "train-00004-of-00010", []
    start, stop = translation_on_ray.start_ledger, threading.Event()

    def start_and_watch() -> Any:
        ledger = start()
        threading.Thread(target=kill_whoever_takes_it, args=(ledger,), daemon=True).start()
        return ledger

    def kill_whoever_takes_it(ledger: Any) -> None:
        while len(killed) < MOST_ATTEMPTS and not stop.wait(0.005):
            try:
                pid = ray.get(ledger.state.remote()).at_work.get(poison)
                if pid is not None and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    say(f"{len(killed)} of {MOST_ATTEMPTS}: the worker at {poison} killed")
            except (ray.exceptions.RayError, ProcessLookupError):
                continue

    monkeypatch.setattr(translation_on_ray, "start_ledger", start_and_watch)
    out = tmp_path / "out"
    try:
        with pytest.raises(DataError, match=rf"1 of 10 shards failed, first: .*{poison}.*lost {MOST_ATTEMPTS} times"):
            translate.main(job(weights, many_shards, out, workers=2))
    finally:
        stop.set()
    assert len(killed) == MOST_ATTEMPTS
    report = read_report(str(out))
    assert [failure.shard for failure in report.failures] == [poison]
    assert report.restarts >= MOST_ATTEMPTS
    assert report.shards == 9
