"""The translation job under faults: the bytes of an undisturbed run, nothing lost, no orphans."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
import ray

from dakpn import storage
from dakpn.config import VerifyConfig
from dakpn.datasets import manifest
from dakpn.errors import DataError, UsageError
from dakpn.scenes import render_scene, write_dataset
from dakpn.sources.pack import pack_dataset
from dakpn.translation import job as translation_job
from dakpn.translation.job_report import read_report
from tests.command import CLI, assert_failed, dakpn, dakpn_process, environment
from tests.faults import Fault, FaultyProxy, faulty_proxy
from tests.paths import REPOSITORY
from tests.processes import end, start
from tests.s3_server import chosen_server
from tests.scenes import CAMVID, Scenes
from tests.translations import SHARDS, arguments, finished, job, outputs, translators
from workflows import translate, translation_on_ray, verify
from workflows.translation_on_ray import MOST_ATTEMPTS

_numbers = count()


@pytest.mark.slow
def test_two_jobs_at_once_do_no_harm(
    ray_here: str, weights: str, many_shards: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [*CLI, *arguments(weights, many_shards, out, "workers=2")]
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
    weights: str, many_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    take = translation_job.claim_output

    def claim_and_lose(plan: Any) -> None:
        take(plan)
        other = job(weights, many_shards, out, strength=0.5)
        take(translation_job.plan_translation(other))  # what the other job does as it starts

    monkeypatch.setattr(translation_job, "claim_output", claim_and_lose)
    with pytest.raises(UsageError, match="another job with other weights or settings"):
        translate.main(job(weights, many_shards, out))
    assert not list(out.glob("*.parquet"))
    assert not (out / "_SUCCESS").exists()


def test_shards_of_a_former_cut_of_the_input_and_their_records_are_cleared_away(
    weights: str, scenes: Scenes, tmp_path: Path
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
    assert verify.main(VerifyConfig(input=str(data), output=str(out), workers=1)) == 12


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_killed_job_goes_on_to_the_same_bytes(
    ray_here: str, weights: str, many_shards: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Nodes are killed in the rehearsal; `test_translate` ends a job at each of its writes."""
    out, log = tmp_path / "out", tmp_path / "log"
    command = arguments(weights, many_shards, out, "workers=1")
    driver = start(command, log, RAY_ADDRESS=ray_here)
    try:
        worker = _wait_for(driver, out, 1, log)[-1]
        os.kill(worker, signal.SIGKILL)
        _wait_for(driver, out, finished(out) + 2, log)  # one at most was written by the worker that is gone
        driver.kill()
        driver.wait()
        done = {path.name: path.stat().st_mtime_ns for path in (out / "_dakpn/shards").glob("*.json")}
        assert 3 <= len(done) < SHARDS
        end(driver)
        driver = start(command, log, RAY_ADDRESS=ray_here)
        worker = _wait_for(driver, out, len(done) + 1, log)[-1]
        os.kill(worker, signal.SIGKILL)
        assert driver.wait(200) == 0, log.read_text()
    finally:
        end(driver)
    assert outputs(out) == undisturbed
    assert read_report(str(out)).restarts > 0
    assert done == {name: (out / "_dakpn/shards" / name).stat().st_mtime_ns for name in done}
    assert not storage.delete_leftovers(str(out))


def _wait_for(driver: subprocess.Popen, out: Path, shards: int, log: Path, patience: float = 200) -> list[int]:
    """Wait until so many shards are done and a worker is there; returns the workers."""
    deadline = time.monotonic() + patience
    while not ((workers := translators(os.getpid())) and finished(out) >= shards):
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return workers


@pytest.mark.slow
def test_metrics_are_at_the_node_s_endpoint(ray_here: str, weights: str, many_shards: str, tmp_path: Path) -> None:
    (port,) = {node["MetricsExportPort"] for node in ray.nodes()}
    before = _series(port)
    seen: dict[str, float] = {}
    stages: set[str] = set()
    counters = {f"ray_dakpn_{name}" for name in ("images", "bytes_in", "bytes_out", "shards")}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            for series, value in _series(port).items():
                if series not in before:  # a series has its worker's id; those before are of other jobs
                    name = series.partition("{")[0].removesuffix("_total")
                    seen[name] = max(seen.get(name, 0), value)
                    stages.update(re.findall(r'stage="(\w+)"', series))

    watch = threading.Thread(target=look)
    watch.start()
    try:
        translate.main(job(weights, many_shards, tmp_path / "out", workers=1))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (counters <= seen.keys() and len(stages) == 5):
            time.sleep(0.2)
    finally:
        ended.set()
        watch.join()
    assert seen["ray_dakpn_images"] >= 3, seen
    assert seen["ray_dakpn_bytes_in"] > 0
    assert seen["ray_dakpn_bytes_out"] > 0
    assert seen["ray_dakpn_shards"] >= 1
    assert stages == {"read", "decode", "translate", "encode", "write"}


def _series(port: int) -> dict[str, float]:
    """Ours at a metrics endpoint: name and labels -> value; nothing if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    parts = [line.rpartition(" ") for line in lines if line.startswith("ray_dakpn_")]
    return {series: float(value) for series, _, value in parts}


@pytest.mark.slow
def test_a_shard_that_has_cost_too_many_workers_fails_alone(
    ray_here: str, weights: str, many_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has seen it begin so often; a soak test kills the workers, as the kernel does without memory."""
    poison, start = "train-00004-of-00010", translation_on_ray.start_ledger

    def begun_before() -> Any:
        ledger = start()
        ray.get([ledger.begin.remote(poison, 0) for _ in range(MOST_ATTEMPTS)])
        return ledger

    monkeypatch.setattr(translation_on_ray, "start_ledger", begun_before)
    out = tmp_path / "out"
    with pytest.raises(DataError, match=rf"1 of 10 shards failed, first: .*{poison}.*lost {MOST_ATTEMPTS} times"):
        translate.main(job(weights, many_shards, out, workers=2))
    report = read_report(str(out))
    assert [failure.shard for failure in report.failures] == [poison]
    assert report.shards == 9


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_next_run_ends_the_same(
    weights: str, many_shards: str, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """On a small file system of its own, which takes a namespace of its own."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    run = " ".join([*CLI, *arguments(weights, many_shards, disk / "out")])
    script = f"""
        mount -t tmpfs -o size=900k tmpfs {disk} || exit 99
        {run} workers=2; echo "exit $?"
        mount -o remount,size=100m {disk}
        {run} workers=0; echo "exit $?"
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


@pytest.mark.soak
def test_a_worker_without_memory_says_so_and_the_others_go_on(weights: str, tmp_path: Path) -> None:
    """One image is huge: as soon as a worker has decoded it, it may have no more memory than that."""
    rendered = tmp_path / "rendered"
    write_dataset(rendered, 2, 0, partial(render_scene, size=(48, 64)), processes=1)
    for kind in ("images", "labels"):
        _write_huge(max((rendered / kind).glob("*.png")), rgb=kind == "images")
    pack_dataset(rendered, str(tmp_path / "source"), CAMVID, None, 1, labelled=True)
    command = arguments(weights, tmp_path / "source", tmp_path / "out", "workers=1")
    process = start(command, tmp_path / "log")
    limited: set[int] = set()
    try:
        while process.poll() is None:
            for pid in set(translators(process.pid)) - limited:
                with suppress(psutil.NoSuchProcess):
                    worker = psutil.Process(pid)
                    if worker.memory_info().rss > 700e6:
                        worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms + 2**26,) * 2)
                        limited.add(pid)
            time.sleep(0.05)
    finally:
        end(process)
    said = (tmp_path / "log").read_text()
    assert process.returncode == 1, said
    assert "out of memory" in said
    assert read_report(str(tmp_path / "out")).shards == 1
    done = dakpn(*arguments(weights, tmp_path / "source", tmp_path / "out", "workers=0"))
    assert done.returncode == 0, done.stderr
    assert verify.main(VerifyConfig(input=str(tmp_path / "source"), output=str(tmp_path / "out"), workers=1)) == 2


def _write_huge(path: Path, *, rgb: bool) -> None:
    from PIL import Image

    Image.new("RGB" if rgb else "L", (13_000, 13_000)).save(path)


@pytest.fixture
def proxy(s3_server: str | None) -> Iterator[FaultyProxy]:
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    with faulty_proxy(s3_server) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_s3_that_fails_is_slow_or_cuts_connections_changes_nothing_and_a_refused_key_fails_alone(
    proxy: FaultyProxy, weights: str, many_shards: str, tmp_path: Path
) -> None:
    bucket = f"job-faults-{next(_numbers)}"
    files = fsspec.filesystem("s3", endpoint_url=proxy.url)
    files.mkdir(bucket)
    files.put(many_shards, f"{bucket}/source", recursive=True)
    straight, out = f"s3://{bucket}/straight", f"s3://{bucket}/out"
    translate.main(job(weights, f"s3://{bucket}/source", straight))
    command = arguments(weights, f"s3://{bucket}/source", out, "workers=2")

    refused = "train-00003-of-00010"
    proxy.fail(Fault("PUT", rf"out/{refused}\.parquet", status=403, code="AccessDenied"), *_troubles())
    first = dakpn_process(*command, AWS_ENDPOINT_URL=proxy.url)  # whose Ray's workers go through the proxy
    assert_failed(first, 1, "1 of 10 shards failed", refused, "access denied", "s3:PutObject")
    assert not storage.exists(f"{out}/_SUCCESS")
    assert [failure.shard for failure in read_report(out).failures] == [refused]

    proxy.fail(*_troubles())
    second = dakpn(*arguments(weights, f"s3://{bucket}/source", out, "workers=0"), AWS_ENDPOINT_URL=proxy.url)
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
