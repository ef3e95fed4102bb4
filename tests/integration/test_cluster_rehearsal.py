"""A cluster as on Kubernetes: a head without CPUs, nodes as processes, token authentication, S3; and nodes that die."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster.drain import raylets
from dakpn import storage
from dakpn.datasets import manifest
from dakpn.errors import StorageError
from dakpn.models.weights import load_predictor
from dakpn.scenes import render_scene, write_dataset
from dakpn.sources.pack import pack_dataset
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.reporting import read_metrics
from dakpn.training.run_folder import RunFolder
from tests.command import CLI, dakpn, environment
from tests.paths import REPOSITORY
from tests.processes import descendants, end, with_title
from tests.ray_head import RayCluster, ray_cluster
from tests.s3_server import chosen_server
from tests.scenes import CAMVID, Scenes, truncate, uploaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES = 24
_PATIENCE_S = 300


@pytest.fixture(scope="module")
def cluster(s3_server: str | None) -> Iterator[RayCluster]:
    """Two nodes, each with room for two training workers and their streams; storage is known from the environment."""
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    with ray_cluster(4, 4) as cluster:
        yield cluster


def test_jobs_go_on_when_a_node_is_killed(cluster: RayCluster, bucket: str, scenes: Scenes, tmp_path: Path) -> None:
    synthetic, real = (uploaded(uri, f"{bucket}/{name}") for name, uri in (("s", scenes.synthetic), ("r", scenes.real)))
    run = f"{bucket}/run"
    settings = ("workers=2", "adversarial.steps=40", "checkpoint_every=5", "report_every=5", "max_failures=5")
    datasets = (f"run={run}", f"synthetic={synthetic}", f"real={real}")
    steps = CheckpointFolder(RunFolder(run).checkpoints("adversarial"), 2)

    def is_half_done() -> bool:
        return max(steps.complete_steps(), default=0) >= 10

    log = _through_a_kill(
        cluster,
        ["train", "workflows/configs/smoke.yaml", *datasets, *settings],
        is_half_done,
        "RayTrainWorker",
        tmp_path,
    )
    assert "resumed at step" in log
    assert max(steps.complete_steps()) == 40
    load_predictor(f"{run}/weights")

    cluster.add_node(4)
    source, output = f"{bucket}/many", f"{bucket}/translated"
    write_dataset(tmp_path / "many", IMAGES, 900, partial(render_scene, size=(300, 400)), processes=1)
    pack_dataset(tmp_path / "many", source, CAMVID, None, 1, labelled=True)
    options = ("--weights", f"{run}/weights", "--input", source, "--output", output, "workers=2", "decode_workers=0")

    def has_begun() -> bool:
        return len(storage.list_files(f"{output}/_dakpn/shards")) >= 3

    _through_a_kill(cluster, ["translate", *options], has_begun, "ShardTranslator", tmp_path)
    assert manifest.read_index(output).rows == IMAGES
    verified = dakpn("verify", "--input", source, "--output", output, "--weights", f"{run}/weights", "workers=1")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.soak  # in CI: test_drain.py
def test_a_pod_that_goes_leaves_a_checkpoint_from_which_the_training_goes_on_and_is_stopped(
    cluster: RayCluster, bucket: str, scenes: Scenes, tmp_path: Path
) -> None:
    """No checkpoint is due before the last step, and a failure that counts would end the job."""
    cluster.add_node(4)
    synthetic, real = (uploaded(uri, f"{bucket}/{name}") for name, uri in (("s", scenes.synthetic), ("r", scenes.real)))
    run = f"{bucket}/run"
    settings = ("workers=1", "adversarial.steps=100000", "checkpoint_every=100000", "report_every=2", "max_failures=0")
    job = ["train", "workflows/configs/smoke.yaml", f"run={run}", f"synthetic={synthetic}", f"real={real}", *settings]
    checkpoints = CheckpointFolder(RunFolder(run).checkpoints("adversarial"), 2)
    submitted = dakpn("submit", *job, "--detach", **cluster.access)
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.removeprefix("job: ").strip()

    def log() -> str:
        return dakpn("jobs", "logs", job_id, **cluster.access).stdout

    def until(holds: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not holds():
            status = dakpn("jobs", "status", job_id, **cluster.access).stdout
            assert "FAILED" not in status, status
            assert time.monotonic() < deadline, log()
            time.sleep(0.5)

    until(lambda: _step(run) >= 4)
    (node,) = _nodes_with(cluster, "RayTrainWorker")
    saved = _go(cluster, node, checkpoints)
    assert f"saved {saved}" in (cluster.folder / "hook").read_text()
    reached = _step(run)  # steps after the checkpoint are taken again
    until(lambda: f"resumed at step {saved}" in log())
    until(lambda: _step(run) > reached)

    dakpn("jobs", "stop", job_id, **cluster.access)
    until(lambda: "STOPPED" in dakpn("jobs", "status", job_id, **cluster.access).stdout, patience_s=55)
    last = max(checkpoints.complete_steps())
    assert last > saved
    assert f"ended by SIGTERM; the checkpoint of step {last} is written" in log()


def _go(cluster: RayCluster, node: subprocess.Popen[bytes], checkpoints: CheckpointFolder) -> int:
    """Run the hook of a pod that goes, see that its Ray has ended, and return the step of the checkpoint it left."""
    family = descendants(node.pid)
    (raylet,) = (raylet for raylet in raylets() if raylet.pid in family)
    hook = [sys.executable, "-m", "cluster.drain", "--node-id", raylet.node_id, "--log", str(cluster.folder / "hook")]
    access = environment(**cluster.access, RAY_AUTH_MODE="token")
    subprocess.run(hook, env=access, cwd=REPOSITORY, check=True, timeout=60)
    node.wait(5)
    (saved,) = checkpoints.complete_steps()
    return saved


def _step(run: str) -> int:
    """The last reported step of the predictor's training."""
    try:
        lines = read_metrics(RunFolder(run).metrics)
    except StorageError:
        return 0
    return max((line["step"] for line in lines if line["stage"] == "adversarial"), default=0)


def test_a_training_without_workers_runs_on_a_head_without_cpus(
    cluster: RayCluster, bucket: str, scenes: Scenes
) -> None:
    synthetic, real = (uploaded(uri, f"{bucket}/{name}") for name, uri in (("s", scenes.synthetic), ("r", scenes.real)))
    command = ("submit", "train", "workflows/configs/smoke.yaml", f"run={bucket}/run")
    done = dakpn(*command, f"synthetic={synthetic}", f"real={real}", **cluster.access)
    assert done.returncode == 0, done.stderr + done.stdout


_TINY = ("network.widths=[4,8,8,16]", "training.size=[24,32]", "training.steps=2")
_SWEEP = (
    *(f"encoder.{setting}" for setting in _TINY),
    *("prediction_size=[24,32]", "style.entries=8", "discriminator.widths=[8,16]"),
    *("adversarial.patch_size=[24,32]", "adversarial.steps=2", "workers=1"),
    *("tune.trials=2", "tune.report_every=2", "tune.objective.images=4", "tune.objective.correlate=0"),
)


@pytest.mark.soak  # in CI: test_submit.py, and each command by itself
def test_what_was_checked_and_packed_there_is_swept_and_evaluated_on_nodes(
    cluster: RayCluster, bucket: str, scenes: Scenes, tmp_path: Path
) -> None:
    """As the manifests start them: all on S3, a packing with more workers than the cluster has CPUs."""
    raw = Path(shutil.copytree(scenes.source, tmp_path / "raw"))
    truncate(min((raw / "images").iterdir()))
    source, bad, packed = uploaded(str(raw), f"{bucket}/raw"), f"{bucket}/bad.json", f"{bucket}/packed"
    options = ("--dataset", "camvid", "--labels")
    _submitted(cluster, 3, "check", source, *options, "--fix", "quarantine", "--output", bad)
    cut = ("--exclude", bad, "--rows-per-shard", "2", "--workers", "64")
    assert "11 labelled images in 6 shards" in _submitted(cluster, 0, "pack", source, packed, *options, *cut)

    real, labelled = uploaded(scenes.real, f"{bucket}/real"), uploaded(scenes.test, f"{bucket}/labelled")
    places = (f"synthetic={packed}", f"real={real}", f"tune.output={bucket}/sweep")
    validation = f"tune.objective.validation={labelled}"
    _submitted(cluster, 0, "tune", "workflows/configs/camvid_tune.yaml", *places, validation, *_SWEEP)
    assert storage.exists(f"{bucket}/sweep/best.yaml")

    places = (f"output={bucket}/scores", f"contenders.source-only={packed}", f"real_test={labelled}")
    judge = (*_TINY, "seeds=[0]", "workers=2")
    _submitted(cluster, 0, "evaluate", "workflows/configs/camvid_demo_evaluation.yaml", *places, *judge)
    assert storage.exists(f"{bucket}/scores/results.json")


def _submitted(cluster: RayCluster, code: int, *job: str) -> str:
    """Run a job to its end, and return what it printed."""
    done = dakpn("submit", *job, **cluster.access)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def _through_a_kill(
    cluster: RayCluster, command: list[str], midway: Callable[[], bool], title: str, tmp_path: Path
) -> str:
    """Submit a job, kill a node that works for it once `midway` holds, and return its log when it is done."""
    with (tmp_path / "log").open("w+b") as log:
        job = subprocess.Popen(
            [*CLI, "submit", *command],
            env=environment(**cluster.access),
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while not midway():
                assert job.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            end(random.Random(0).choice(_nodes_with(cluster, title)))  # noqa: S311 - no secret
            assert job.wait(_PATIENCE_S) == 0, (tmp_path / "log").read_text()
        finally:
            end(job)
    return (tmp_path / "log").read_text()


def _nodes_with(cluster: RayCluster, title: str) -> list[subprocess.Popen[bytes]]:
    """Nodes on which a process of this title runs."""
    found = [node for node in cluster.nodes if with_title(node.pid, title)]
    assert found, f"no node runs a {title}"
    return found
