"""Weights & Biases, as `WANDB_MODE`, `WANDB_API_KEY` and its other variables say."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from dakpn.errors import UsageError


class WandbTracker:
    """One W&B run a stage; the same run folder goes on in the same run.

    Raises:
        UsageError: W&B is not installed.
    """

    def __init__(self, project: str, run_uri: str, stage: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UsageError("tracking.wandb needs W&B: pip install 'dakpn[wandb]', or leave it off") from error
        self._image = wandb.Image
        name = f"{run_uri} {stage}"
        number = hashlib.sha256(name.encode()).hexdigest()[:16]
        settings = wandb.Settings(silent=True, console="off")
        self._run = wandb.init(project=project, name=name, id=number, resume="allow", settings=settings)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Add a point to each curve."""
        self._run.log(values, step=step)

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """Add a picture uint8 [H, W, 3]."""
        self._run.log({"samples": self._image(image)}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
