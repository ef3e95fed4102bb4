"""What the Kubernetes API takes in a RayJob, even with strict validation, and the operator or the pod then refuses."""

from collections import Counter
from collections.abc import Iterator

from tests.unit.k8s.overlays import Manifest, groups

SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
"""Of KubeRay 1.7. Its schema has a plain string there."""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What every container has to say of itself: the namespace's PodSecurity, and the image's user."""


def refusals(job: Manifest) -> list[str]:
    """Sentences about what is wrong with a RayJob; none if it can run."""
    return [*_of_the_job(job["spec"]), *(f"{name}: {wrong}" for name, pod in _pods(job) for wrong in _of_a_pod(pod))]


def _of_the_job(spec: Manifest) -> Iterator[str]:
    if (mode := spec.get("submissionMode", "K8sJobMode")) not in SUBMISSION_MODES:
        yield f"submissionMode {mode} is unknown"
    shuts_down = spec.get("shutdownAfterJobFinishes", False)
    if shuts_down and spec.get("deletionStrategy", {}).get("deletionRules"):
        yield "shutdownAfterJobFinishes and deletionRules exclude each other"
    if "ttlSecondsAfterFinished" in spec and not shuts_down:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    cluster = spec["rayClusterSpec"]
    if cluster["enableInTreeAutoscaling"] and not is_restricted(cluster["autoscalerOptions"].get("securityContext")):
        yield "the autoscaler's securityContext is not that of PodSecurity restricted"


def _pods(job: Manifest) -> Iterator[tuple[str, Manifest]]:
    for group in groups(job["spec"]["rayClusterSpec"]):
        yield group.get("groupName", "head"), group["template"]["spec"]


def _of_a_pod(pod: Manifest) -> Iterator[str]:
    containers = [*pod["containers"], *pod.get("initContainers", ())]
    ports = [port for container in containers for port in container.get("ports", ())]
    for key in ("name", "containerPort"):
        for value, number in Counter(port[key] for port in ports if key in port).items():
            if number > 1:
                yield f"port {key} {value} is there {number} times"
    if pod.get("securityContext", {}).get("runAsNonRoot") is not True:
        yield "the pod's securityContext is not that of PodSecurity restricted"
    for container in containers:
        if not is_restricted(container.get("securityContext")):
            yield f"the securityContext of {container['name']} is not that of PodSecurity restricted"


def is_restricted(context: Manifest | None) -> bool:
    """Tell whether a container's securityContext is what PodSecurity `restricted` and the image want."""
    return context is not None and "privileged" not in context and {**context, **RESTRICTED} == context
