"""Where a training can be watched beside its own folder."""

from pydantic import Field

from dakpn.config.base import Config, Steps


class TrackingConfig(Config):
    """Trackers of a training. Servers and credentials come from the environment, as each of them documents."""

    tensorboard: bool = Field(default=True, description="write event files to RUN/tensorboard")
    mlflow: bool = Field(default=False, description="needs `dakpn[mlflow]`; the server is MLFLOW_TRACKING_URI")
    wandb: bool = Field(default=False, description="needs `dakpn[wandb]`; WANDB_MODE=offline works without a server")
    project: str = Field(default="dakpn", description="experiment of MLflow, project of W&B")
    samples_every: Steps = Field(
        default=100, description="distance from one picture of fixed samples to the next, drawn at a report"
    )
