"""What rank 0 tells of a stage: lines in the run's folder, trackers, and pictures of fixed samples."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dakpn.data import codec, storage
from dakpn.training.health import Alarm
from dakpn.training.metrics_log import MetricsLog
from dakpn.training.run_folder import RunFolder
from dakpn.training.tracking import Trackers

DrawSamples = Callable[[], NDArray[np.uint8]]


class RunReporter:
    """The reporter of rank 0.

    Args:
        folder: of the run.
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
