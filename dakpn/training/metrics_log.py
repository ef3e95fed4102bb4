"""Metrics of a run as JSON lines on any storage."""

import json
import logging
from typing import Any

from dakpn.data import storage

logger = logging.getLogger(__name__)


class MetricsLog:
    """Rank 0's metrics, one JSON object a line: stage, step and terms.

    Object storage cannot append, so the file is written whole each time; it holds one line a report. On resume, lines
    of steps that will be taken again are dropped.
    """

    def __init__(self, uri: str, stage: str, start_step: int, total_steps: int) -> None:
        self._uri = uri
        self._stage = stage
        self._total = total_steps
        self._lines = [line for line in read_metrics(uri) if line["stage"] != stage or int(line["step"]) <= start_step]

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Add a line and log a short form of it."""
        self._lines.append({"stage": self._stage, "step": step, **metrics})
        text = "".join(json.dumps(line) + "\n" for line in self._lines)
        storage.write_bytes(self._uri, text.encode())
        shown = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
        logger.info("%s step %d of %d: %s", self._stage, step, self._total, shown)


class NoReport:
    """The reporter of all ranks but the first."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing: rank 0 reports."""


def read_metrics(uri: str) -> list[dict[str, Any]]:
    """All lines of a metrics file; none if it is not there yet."""
    if not storage.exists(uri):
        return []
    return [json.loads(line) for line in storage.read_bytes(uri).decode().splitlines()]
