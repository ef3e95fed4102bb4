"""Prometheus metrics of the workers, through Ray: ray_dakpn_* at every node's metrics endpoint."""

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

_NAMES = {
    "images": "images translated",
    "bytes_in": "bytes of encoded images and labels read",
    "bytes_out": "bytes of encoded images and labels made",
    "quarantined": "rows quarantined",
    "failures": "shards that failed",
    "shards": "shards finished",
}


class TranslationMetrics:
    """The counters of one worker. A counter is made anew with its process: take the rate or increase over time."""

    def __init__(self) -> None:
        self._counters = {name: Counter(f"dakpn_{name}", description=text) for name, text in _NAMES.items()}
        self._seconds = Counter(
            "dakpn_stage_seconds", description="seconds that workers spent in a stage", tag_keys=("stage",)
        )

    def count(self, **amounts: int) -> None:
        """Add to the counters of these names."""
        for name, amount in amounts.items():
            if amount:
                self._counters[name].inc(amount)

    def spent(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage: read, decode, translate, encode or write."""
        if seconds > 0:
            self._seconds.inc(seconds, {"stage": stage})


_TRAINING_NAMES = {
    "step": "steps taken",
    "images_per_second": "images a second, of all workers",
    "seconds_per_step": "seconds a step",
    "data_wait_share": "share of the time spent waiting for data, 0 to 1",
}


class TrainingMetrics:
    """The gauges of a training, told by its first worker; a tracker, see `dakpn.training.tracking.Tracker`.

    What a report holds beside speed (losses, shares of pixels, ...) is `dakpn_train_term`, with its name as `term`.
    Ray shows a gauge for some 20 s after it was set: where reports are rarer, there are gaps between them.
    """

    def __init__(self, stage: str) -> None:
        self._tags = {"stage": stage}
        self._gauges = {
            name: Gauge(f"dakpn_train_{name}", description=text, tag_keys=("stage",))
            for name, text in _TRAINING_NAMES.items()
        }
        self._terms = Gauge("dakpn_train_term", description="a term of the last report", tag_keys=("stage", "term"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Show the metrics of a step."""
        for name, value in {**values, "step": step}.items():
            if name in self._gauges:
                self._gauges[name].set(value, self._tags)
            else:
                self._terms.set(value, {**self._tags, "term": name})

    def picture(self, step: int, image: Any) -> None:
        """Do nothing: Ray's metrics are numbers."""

    def close(self) -> None:
        """Do nothing: Ray drops the gauges when the process ends."""
