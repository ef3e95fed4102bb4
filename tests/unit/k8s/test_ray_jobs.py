"""What KubeRay demands of a RayJob, and what it would not say until a job is lost."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from string import Template

import pytest
import typer

from tests.paths import REPOSITORY
from tests.unit.k8s.overlays import OVERLAYS, Manifest, amount, groups, of_kind, pods, ray_clusters, rendered, settings
from workflows.cli import app
from workflows.submit import COMMANDS

MAX_NAME = 47
LOCKED_RAY = re.search(r"^ray==(\S+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
WITH_RULES = {"gpu", "spot"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_image_and_ray_version_are_those_of_the_lock(overlay: str) -> None:
    assert LOCKED_RAY is not None
    version = LOCKED_RAY[1]
    for cluster in ray_clusters(overlay):
        assert cluster["rayVersion"] == version
        images = {group["template"]["spec"]["containers"][0]["image"] for group in groups(cluster)}
        (image,) = images  # head and workers of one cluster run the same
        assert re.fullmatch(rf"\S+/dakpn:ray-{re.escape(version)}-(cpu|cuda)@sha256:[0-9a-f]{{64}}", image)
        gpus = any("nvidia.com/gpu" in limits(group) for group in groups(cluster))
        assert not gpus or "-cuda@" in image


def limits(group: Manifest) -> Manifest:
    return group["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_leave_room_for_what_kuberay_appends(overlay: str) -> None:
    for manifest in rendered(overlay):
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
        assert len(manifest["metadata"]["name"]) <= MAX_NAME
        assert manifest["metadata"]["labels"]["app.kubernetes.io/component"] in ("platform", *COMMANDS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_requests_equal_limits(overlay: str) -> None:
    for pod in pods(overlay):
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    for cluster in ray_clusters(overlay):
        if cluster["enableInTreeAutoscaling"]:
            resources = cluster["autoscalerOptions"]["resources"]
            assert resources["requests"] == resources["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_object_store_fits_into_shared_memory_and_that_into_the_pod(overlay: str) -> None:
    for cluster in ray_clusters(overlay):
        for group in groups(cluster):
            pod = group["template"]["spec"]
            (shm,) = (volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
            assert shm["medium"] == "Memory"
            assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]  # noqa: S108
            store = int(group["rayStartParams"]["object-store-memory"])
            assert store < amount(shm["sizeLimit"]) <= amount(limits(group)["memory"]) / 2


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_jobs_survive_their_log_and_end_in_time(overlay: str) -> None:
    for job in of_kind(overlay, "RayJob"):
        spec = job["spec"]
        assert spec["submissionMode"] == "HTTPMode"
        # Each retry of a check would find the same problems again.
        assert spec["backoffLimit"] == 0 if job["metadata"]["name"] == "dakpn-check" else spec["backoffLimit"] >= 1
        assert spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
        assert "gcsFaultToleranceOptions" not in spec["rayClusterSpec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_driver_stays_on_the_head_and_nothing_else_does(overlay: str) -> None:
    for job in of_kind(overlay, "RayJob"):
        assert not [name for name in job["spec"] if name.startswith("entrypointNum")]
        assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_has_one_of_the_two_ways_to_clean_up(overlay: str) -> None:
    for job in of_kind(overlay, "RayJob"):
        shutdown = job["spec"].get("shutdownAfterJobFinishes", False)
        assert shutdown != ("deletionStrategy" in job["spec"])
        assert shutdown != (overlay in WITH_RULES)
        assert shutdown == ("ttlSecondsAfterFinished" in job["spec"])
        for rule in job["spec"].get("deletionStrategy", {}).get("deletionRules", ()):
            assert rule["policy"] == "DeleteCluster"  # DeleteWorkers does not go with the autoscaler
            assert set(rule["condition"]) in ({"jobStatus", "ttlSeconds"}, {"jobDeploymentStatus", "ttlSeconds"})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_groups_scale_from_at_least_one(overlay: str) -> None:
    for cluster in ray_clusters(overlay):
        queued = overlay == "kueue"
        assert cluster["enableInTreeAutoscaling"] is not queued
        if not queued:
            assert cluster["autoscalerOptions"]["version"] == "v2"
        for group in cluster["workerGroupSpecs"]:
            assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            assert not queued or group["minReplicas"] == group["maxReplicas"]
            assert "restartPolicy" not in group["template"]["spec"]  # autoscaler v2 wants it unset


def test_kueue_finds_its_queue() -> None:
    for job in of_kind("kueue", "RayJob"):
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]


def test_on_spot_nodes_are_all_workers_and_no_head() -> None:
    for cluster in ray_clusters("spot"):
        head, *workers = (group["template"]["spec"] for group in groups(cluster))
        required = head["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ((rule,),) = (term["matchExpressions"] for term in required["nodeSelectorTerms"])
        assert rule["operator"] == "NotIn"
        for worker in workers:
            ((name, value),) = worker["nodeSelector"].items()
            assert (rule["key"], rule["values"]) == (name, [value])
            assert {"key": name, "operator": "Equal", "value": value, "effect": "NoSchedule"} in worker["tolerations"]


@pytest.mark.parametrize("overlay", ["gpu", "spot", "kueue"])
def test_jobs_that_train_or_translate_get_gpus_and_packing_and_checking_none(overlay: str) -> None:
    for job in of_kind(overlay, "RayJob"):
        gpus = [limits(group).get("nvidia.com/gpu") for group in groups(job["spec"]["rayClusterSpec"])]
        nets = job["metadata"]["name"] in ("dakpn-train", "dakpn-translate", "dakpn-tune", "dakpn-evaluate")
        wanted = [None, None, "1"] if nets else [None, None]
        assert gpus == wanted


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_metrics_are_scraped_where_they_are_exported(overlay: str) -> None:
    (monitor,) = of_kind(overlay, "PodMonitor")
    port = monitor["spec"]["podMetricsEndpoints"][0]["port"]
    for cluster in ray_clusters(overlay):
        for group in groups(cluster):
            labels = group["template"]["metadata"]["labels"]
            assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
            ports = {
                entry["name"]: entry["containerPort"] for entry in group["template"]["spec"]["containers"][0]["ports"]
            }
            assert str(ports[port]) == group["rayStartParams"]["metrics-export-port"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_command_line_takes_every_entrypoint(overlay: str) -> None:
    jobs = of_kind(overlay, "RayJob")
    assert {job["metadata"]["name"] for job in jobs} == {f"dakpn-{command}" for command in COMMANDS}
    for job in jobs:
        targets = config_of(job["spec"]["entrypoint"], settings(overlay))
        assert all(uri.startswith("s3://") for uri in targets)


def config_of(entrypoint: str, variables: Mapping[str, str]) -> list[str]:
    """Parse an entrypoint as the shell and the command would; return what it reads and writes."""
    expanded = Template(entrypoint).substitute(variables)
    python, option, module, *arguments = shlex.split(expanded)
    command = module.removeprefix("workflows.")
    assert (python, option) == ("python", "-m")
    assert (REPOSITORY / "workflows" / f"{command}.py").exists()
    here = [text.replace("/app/configs", str(REPOSITORY / "workflows" / "configs")) for text in arguments]
    parser = getattr(typer.main.get_command(app), "commands")[command]  # noqa: B009 - a group of click
    parsed = parser.make_context(command, here).params
    kind = COMMANDS[command]
    config = kind.config(**{name: parsed[name] for name in kind.settings})
    return [uri for name in (kind.target, *kind.inputs) if (uri := getattr(config, name)) is not None]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_job_reads_what_another_has_written(overlay: str) -> None:
    variables = settings(overlay)
    entrypoints = {job["metadata"]["name"]: job["spec"]["entrypoint"] for job in of_kind(overlay, "RayJob")}
    assert variables["DAKPN_PACKED"] == variables["DAKPN_SYNTHETIC"]
    for name, variable in (("check", "BAD_ROWS"), ("pack", "BAD_ROWS"), ("train", "SYNTHETIC"), ("translate", "RUN")):
        assert f"$DAKPN_{variable}" in entrypoints[f"dakpn-{name}"]
    named = set(re.findall(r"\$(DAKPN_\w+)", " ".join(entrypoints.values())))
    assert named == {name for name in variables if name.startswith("DAKPN_")}  # none is missing, and none is idle


def test_the_image_has_the_configs_where_the_settings_look_for_them() -> None:
    dockerfile = (REPOSITORY / "k8s" / "Dockerfile").read_text()
    assert "COPY workflows/configs /app/configs" in dockerfile
    for overlay in OVERLAYS:
        for name, value in settings(overlay).items():
            if name.endswith("_CONFIG"):
                assert (REPOSITORY / "workflows" / "configs" / Path(value).relative_to("/app/configs")).exists()
