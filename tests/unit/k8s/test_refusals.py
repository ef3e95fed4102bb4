"""Faults of a RayJob that no `kubectl apply` would tell are told here; each is made once, and found."""

import copy
from collections.abc import Callable

import pytest

from tests.unit.k8s.overlays import OVERLAYS, Manifest, of_kind
from tests.unit.k8s.refusals import refusals


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_of_a_job_is_refused_after_it_was_taken(overlay: str) -> None:
    jobs = of_kind(overlay, "RayJob")
    assert jobs
    for job in jobs:
        assert refusals(job) == [], job["metadata"]["name"]


def head(job: Manifest) -> Manifest:
    return job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]


def worker(job: Manifest) -> Manifest:
    return job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]


def _both_ways_to_clean_up(job: Manifest) -> None:
    job["spec"]["shutdownAfterJobFinishes"] = True


def _time_without_a_shutdown(job: Manifest) -> None:
    job["spec"]["ttlSecondsAfterFinished"] = 600


def _unknown_mode(job: Manifest) -> None:
    job["spec"]["submissionMode"] = "HttpMode"


def _port_name_twice(job: Manifest) -> None:
    head(job)["containers"][0]["ports"].append({"name": "metrics", "containerPort": 9090})


def _port_name_of_another_container(job: Manifest) -> None:
    sidecar = {**worker(job)["containers"][0], "name": "sidecar", "ports": [{"name": "metrics", "containerPort": 1}]}
    worker(job)["containers"].append(sidecar)


def _head_without_context(job: Manifest) -> None:
    del head(job)["containers"][0]["securityContext"]


def _head_pod_without_context(job: Manifest) -> None:
    del head(job)["securityContext"]


def _escalating_worker(job: Manifest) -> None:
    worker(job)["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


def _autoscaler_without_context(job: Manifest) -> None:
    del job["spec"]["rayClusterSpec"]["autoscalerOptions"]["securityContext"]


FAULTS: list[tuple[Callable[[Manifest], None], str]] = [
    (_both_ways_to_clean_up, "shutdownAfterJobFinishes and deletionRules exclude each other"),
    (_time_without_a_shutdown, "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"),
    (_unknown_mode, "submissionMode HttpMode is unknown"),
    (_port_name_twice, "head: port name metrics is there 2 times"),
    (_port_name_of_another_container, "cpu: port name metrics is there 2 times"),
    (_head_without_context, "head: the securityContext of ray-head is not that of PodSecurity restricted"),
    (_head_pod_without_context, "head: the pod's securityContext is not that of PodSecurity restricted"),
    (_escalating_worker, "cpu: the securityContext of ray-worker is not that of PodSecurity restricted"),
    (_autoscaler_without_context, "the autoscaler's securityContext is not that of PodSecurity restricted"),
]


@pytest.mark.parametrize(("make", "told"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(make: Callable[[Manifest], None], told: str) -> None:
    job = copy.deepcopy(of_kind("gpu", "RayJob")[0])
    assert refusals(job) == []
    make(job)
    assert refusals(job) == [told]
