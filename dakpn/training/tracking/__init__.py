"""Trackers: programs in which a training is watched, each behind the same three calls."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dakpn.config import TrackingConfig
from dakpn.training.run_folder import RunFolder

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Where scalars and pictures of one stage go. A call may fail as the program behind it does."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Metrics of a step."""
        ...

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """A picture uint8 [H, W, 3] of fixed samples."""
        ...

    def close(self) -> None:
        """Finish: nothing more will come."""
        ...


def build_trackers(
    config: TrackingConfig, folder: RunFolder, stage: str, start_step: int, others: Sequence[Tracker] = ()
) -> "Trackers":
    """The trackers that a config asks for, and others; to be told of the steps after `start_step`.

    Raises:
        UsageError: the package of one is missing.
    """
    trackers = list(others)
    if config.tensorboard:
        from dakpn.training.tracking.tensorboard import TensorBoardTracker

        trackers.append(TensorBoardTracker(folder.tensorboard, stage, start_step))
    if config.mlflow:
        from dakpn.training.tracking.mlflow import MlflowTracker

        trackers.append(MlflowTracker(config.project, folder.uri, stage))
    if config.wandb:
        from dakpn.training.tracking.wandb import WandbTracker

        trackers.append(WandbTracker(config.project, folder.uri, stage))
    return Trackers(trackers)


class Trackers:
    """All trackers of a stage; one that fails is left out from then on: training is worth more than its curves."""

    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Pass scalars on to all trackers."""
        self._tell(lambda tracker: tracker.scalars(step, values))

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """Pass a picture on to all trackers."""
        self._tell(lambda tracker: tracker.picture(step, image))

    def close(self) -> None:
        """Close all trackers."""
        self._tell(lambda tracker: tracker.close())

    def _tell(self, call: Callable[[Tracker], Any]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # whatever a server, a network or a client library comes up with
                self._trackers.remove(tracker)
                logger.warning(
                    "%s gets no more of this training: %s; metrics.jsonl has it all", type(tracker).__name__, error
                )
