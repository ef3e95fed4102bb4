"""MLflow, where `MLFLOW_TRACKING_URI` points to."""

import numpy as np
from numpy.typing import NDArray

from dakpn.errors import UsageError

_TAG = "dakpn.stage"


class MlflowTracker:
    """One MLflow run a stage; the same run folder goes on in the same run.

    Raises:
        UsageError: MLflow is not installed.
    """

    def __init__(self, project: str, run_uri: str, stage: str) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise UsageError("tracking.mlflow needs MLflow: pip install 'dakpn[mlflow]', or leave it off") from error
        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(project)
        name = f"{run_uri} {stage}"
        found = self._client.search_runs([number], f"tags.`{_TAG}` = '{name}'", max_results=1)
        run = found[0] if found else self._client.create_run(number, run_name=name, tags={_TAG: name})
        self._run_id = run.info.run_id
        self._client.update_run(self._run_id, status="RUNNING")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """Add a picture uint8 [H, W, 3]."""
        self._client.log_image(self._run_id, image, f"samples/{step:08d}.png")

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)
