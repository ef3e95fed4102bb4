"""What the manifests allow: as little as it takes, and no secret is in them."""

import pytest
import yaml

from tests.unit.k8s.overlays import K8S, OVERLAYS, groups, of_kind, pods, ray_clusters, rendered
from tests.unit.k8s.refusals import is_restricted

CREDENTIALS = ("SECRET", "ACCESS_KEY", "PASSWORD", "TOKEN", "CREDENTIAL")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_container_has_a_right_more_than_it_needs(overlay: str) -> None:
    for pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all("hostPath" not in volume for volume in pod.get("volumes", ()))
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert is_restricted(container["securityContext"])
    for cluster in ray_clusters(overlay):
        if cluster["enableInTreeAutoscaling"]:
            assert is_restricted(cluster["autoscalerOptions"]["securityContext"])
        else:
            assert "autoscalerOptions" not in cluster


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_head_speaks_to_the_kubernetes_api(overlay: str) -> None:
    for account in of_kind(overlay, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for cluster in ray_clusters(overlay):
        head, *workers = (group["template"]["spec"] for group in groups(cluster))
        assert head["automountServiceAccountToken"] is True
        assert all(worker["automountServiceAccountToken"] is False for worker in workers)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_cluster_wants_a_token(overlay: str) -> None:
    clusters = ray_clusters(overlay)
    assert clusters
    assert all(cluster["authOptions"] == {"mode": "token"} for cluster in clusters)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_manifest_holds_a_secret(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for config in of_kind(overlay, "ConfigMap"):
        assert not [name for name in config["data"] if any(word in name for word in CREDENTIALS)]
    for pod in pods(overlay):
        for container in pod["containers"]:
            for variable in container.get("env", ()):
                secret = any(word in variable["name"] for word in CREDENTIALS)
                assert not secret or "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_the_example_of_a_secret_is_empty() -> None:
    example = yaml.safe_load((K8S / "base" / "secret.example.yaml").read_text())
    assert set(example["stringData"].values()) == {""}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_policy_holds_for_every_ray_pod(overlay: str) -> None:
    (policy,) = of_kind(overlay, "NetworkPolicy")
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    for cluster in ray_clusters(overlay):
        for group in groups(cluster):
            assert selector.items() <= group["template"]["metadata"]["labels"].items()
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert blocks
    assert all("169.254.169.254/32" in block["except"] for block in blocks)
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_lives_in_a_namespace_that_enforces_this(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [manifest for manifest in rendered(overlay) if manifest is not namespace]
    assert {manifest["metadata"]["namespace"] for manifest in others} == {namespace["metadata"]["name"]}
