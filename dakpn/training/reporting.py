"""What rank 0 reports of a stage: metrics and alarms as JSON lines, trackers, and pictures of fixed samples."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dakpn import storage
from dakpn.images import codec
from dakpn.training.monitor import Alarm
from dakpn.training.run_folder import RunFolder
from dakpn.training.tracking import Trackers

logger = logging.getLogger(__name__)

DrawSamples = Callable[[], NDArray[np.uint8]]


class MetricsLog:
    """Rank 0's metrics and alarms, one JSON object a line: stage, step and what there is to say.

    Object storage cannot append, so a file is written whole each time; it holds one line a report. On resume, lines
    of steps that will be taken again are dropped.
    """

    def __init__(self, folder: RunFolder, stage: str, start_step: int) -> None:
        self._folder = folder
        self._stage = stage
        self._metrics = _lines_before(folder.metrics, stage, start_step)
        self._alarms = _lines_before(folder.alarms, stage, start_step)

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Add a line of metrics."""
        self._metrics.append({"stage": self._stage, "step": step, **metrics})
        _write(self._folder.metrics, self._metrics)

    def alarm(self, alarm: Alarm) -> None:
        """Add a line of alarms, and warn."""
        logger.warning("%s: %s", self._stage, alarm)
        self._alarms.append({"stage": self._stage, **asdict(alarm)})
        _write(self._folder.alarms, self._alarms)


class NoReport:
    """The reporter of all ranks but the first."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Do nothing: rank 0 reports."""

    def alarm(self, alarm: Alarm) -> None:
        """Do nothing: rank 0 reports."""


class RunReporter:
    """The reporter of rank 0.

    Args:
        folder: Folder of the run.
        stage: name of the stage.
        start_step: steps taken before.
        trackers: told of all that is reported.
        draw_samples: gives a picture of fixed samples as the model is now; None draws none.
        samples_every: steps from one picture to the next.
    """

    def __init__(
        self,
        folder: RunFolder,
        stage: str,
        start_step: int,
        trackers: Trackers,
        draw_samples: DrawSamples | None = None,
        samples_every: int = 100,
    ) -> None:
        self._folder = folder
        self._log = MetricsLog(folder, stage, start_step)
        self._trackers = trackers
        self._draw_samples = draw_samples
        self._samples_every = samples_every
        self._pictures = start_step // samples_every

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Write a line, tell the trackers, and draw the samples if they are due."""
        self._log.report(step, metrics)
        self._trackers.scalars(step, metrics)
        if self._draw_samples and step // self._samples_every > self._pictures:
            self._pictures = step // self._samples_every
            picture = self._draw_samples()
            storage.write_bytes(self._folder.samples(step), codec.encode_image(picture, "png"))
            self._trackers.picture(step, picture)

    def alarm(self, alarm: Alarm) -> None:
        """Write a line and warn."""
        self._log.alarm(alarm)


def read_metrics(uri: str) -> list[dict[str, Any]]:
    """All lines of a metrics file; none if it is not there yet."""
    if not storage.exists(uri):
        return []
    return [json.loads(line) for line in storage.read_bytes(uri).decode().splitlines()]


def read_alarms(uri: str) -> list[Alarm]:
    """All alarms that rang; none if there is no such file."""
    return [Alarm(**{name: line[name] for name in line if name != "stage"}) for line in read_metrics(uri)]


def _lines_before(uri: str, stage: str, step: int) -> list[dict[str, Any]]:
    return [line for line in read_metrics(uri) if line["stage"] != stage or int(line["step"]) <= step]


def _write(uri: str, lines: list[dict[str, Any]]) -> None:
    storage.write_bytes(uri, "".join(json.dumps(line) + "\n" for line in lines).encode())
