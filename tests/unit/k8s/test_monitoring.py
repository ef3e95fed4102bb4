"""Alerts and dashboard name metrics that there are, and lead to entries of the runbook that there are."""

import json
import re
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import pytest
import ray
import yaml

from cluster import metrics
from tests.paths import REPOSITORY
from tests.unit.k8s.overlays import K8S, of_kind

FOLDER = K8S / "components" / "monitoring"
RULES = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "dakpn.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
]


def test_every_alert_leads_to_an_entry_of_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (REPOSITORY / "docs/runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for rule in RULES:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md"
        assert anchor in anchors, rule["alert"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 5


def test_overlays_for_clusters_bring_alerts_and_dashboard() -> None:
    for overlay in ("gpu", "spot", "kueue"):
        (rule,) = of_kind(overlay, "PrometheusRule")
        assert rule["metadata"]["namespace"] == "dakpn"
        (board,) = (m for m in of_kind(overlay, "ConfigMap") if m["metadata"]["name"] == "dakpn-dashboard")
        assert json.loads(board["data"]["dakpn.json"]) == DASHBOARD


def exported() -> set[str]:
    """Names at the metrics endpoint of a Ray node of its own, whose worker has counted something."""
    ray.init(address="local", num_cpus=1, include_dashboard=True, dashboard_port=0, log_to_driver=False)
    try:

        @ray.remote
        class Worker:
            def __init__(self) -> None:
                self.kept = (metrics.TranslationMetrics(), metrics.TrainingMetrics("adversarial"))

            def count(self) -> None:
                translation, training = self.kept
                translation.count(images=1, bytes_in=1, bytes_out=1, quarantined=1, failures=1, shards=1)
                translation.spent("read", 1.0)
                speed = {"images_per_second": 1.0, "seconds_per_step": 1.0, "data_wait_share": 0.1}
                training.scalars(3, {**speed, "loss": 1.0})

        worker = Worker.remote()
        # Again and again, as a training reports: Ray shows a gauge for some 20 s after it was set, and then drops it.
        return wait_for_names(ray.nodes()[0]["MetricsExportPort"], lambda: ray.get(worker.count.remote()))
    finally:
        ray.shutdown()


def wait_for_names(port: int, count: Callable[[], object]) -> set[str]:
    """All names, once ours are among them; `count` counts something before each look."""
    deadline, names = time.monotonic() + 60, set()
    while time.monotonic() < deadline:
        count()
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            names |= set(re.findall(r"^(ray_\w+)[{ ]", answer.read().decode(), re.MULTILINE))
        if "ray_dakpn_train_term" in names and "ray_dakpn_images_total" in names and "ray_node_mem_used" in names:
            return names
        time.sleep(0.5)
    raise AssertionError(f"no metrics of ours after a minute: {sorted(names)}")


@pytest.mark.slow
def test_every_metric_that_is_asked_for_is_exported() -> None:
    asked = {name for expression in EXPRESSIONS for name in re.findall(r"\bray_\w+", expression)}
    asked -= {"ray_io_cluster", "ray_node_gpus_utilization"}  # a label; and nodes without a GPU do not tell
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:  # this process may hold the Ray of other tests
        found = elsewhere.submit(exported).result()
    assert asked - found == set()
