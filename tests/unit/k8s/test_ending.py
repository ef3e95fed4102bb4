"""Pods that are deleted: the hook saves the work, and everything fits into the time that Kubernetes gives."""

import pytest

from cluster.drain import LIMIT_S
from cluster.signals import PATIENCE_S, PATIENCE_VARIABLE
from cluster.submit import STOP_WAIT_S
from tests.unit.k8s.overlays import OVERLAYS, Manifest, groups, ray_clusters, settings

ENDING_S = 5  # what the hook gives Ray to end
ANNOUNCING_S = 5  # the hook starts, the driver looks every second


def container(group: Manifest) -> Manifest:
    """The one that Ray runs in: KubeRay takes the first."""
    return group["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_ray_pod_saves_its_work_before_it_ends(overlay: str) -> None:
    for cluster in ray_clusters(overlay):
        for group in groups(cluster):
            command = container(group)["lifecycle"]["preStop"]["exec"]["command"]
            assert command == ["python", "-m", "cluster.drain", "--log", "container"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_autoscaler_outlives_its_head(overlay: str) -> None:
    """KubeRay starts it in the head's pod, where nothing but process 1 would ignore SIGTERM."""
    for cluster in ray_clusters(overlay):
        shares = cluster["headGroupSpec"]["template"]["spec"].get("shareProcessNamespace", False)
        assert shares or not cluster.get("enableInTreeAutoscaling", False)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_checkpoint_and_the_end_of_ray_fit_into_the_grace(overlay: str) -> None:
    assert PATIENCE_VARIABLE not in settings(overlay)  # whoever sets it must lengthen the grace, too
    for cluster in ray_clusters(overlay):
        for group in groups(cluster):
            grace = group["template"]["spec"]["terminationGracePeriodSeconds"]
            assert PATIENCE_S + ANNOUNCING_S <= LIMIT_S <= grace - ENDING_S


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_stopped_job_is_not_killed_while_its_checkpoint_is_written(overlay: str) -> None:
    for cluster in ray_clusters(overlay):
        variables = {entry["name"]: entry.get("value") for entry in container(cluster["headGroupSpec"])["env"]}
        assert PATIENCE_S < float(variables["RAY_JOB_STOP_WAIT_TIME_S"]) == STOP_WAIT_S < 60
