"""Prometheus metrics of a translation worker, through Ray: ray_dakpn_* at every node's metrics endpoint."""

from ray.util.metrics import Counter

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
