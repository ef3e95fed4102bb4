"""Train: the source segmenter if there is none, then the kernel predictor against the discriminators."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import ray
import torch

from cluster.metrics import TrainingMetrics
from cluster.session import interruptible, ray_session, require_gpus
from cluster.signals import termination_notice
from dakpn.config import TrainConfig
from dakpn.training.loop import NoTerminationNotice
from dakpn.training.tracking import Tracker
from dakpn.training.trainer import Trainer
from workflows.progress import training_progress


def main(config: TrainConfig) -> str:
    """Train, or resume, and return the URI of the weights.

    `workers=0` trains in this process, and joins Ray only where `RAY_ADDRESS` names one, as in a job: to hear that its
    node will go, and for its metrics.

    Raises:
        UsageError, ConfigError: inputs or run folder do not fit, found before any worker starts.
        DataError, StorageError, TrainingError: found while training.
    """
    if not config.most_workers:
        with _joined_ray(), termination_notice(0) as notice, training_progress(config):
            return Trainer(config, notice=notice, trackers=_ray_metrics).fit()
    from workflows.training_on_ray import held_cpus, run_workers

    trainer = _prepared(config)
    with (
        ray_session(*held_cpus(config)),
        interruptible(),
        termination_notice(config.most_workers) as notice,
        training_progress(config),
    ):
        if config.use_gpu:
            require_gpus(config.fewest_workers)
        run_workers(config, notice)
    return trainer.folder.weights


def train_until(config: TrainConfig, step: int) -> str:
    """Train, or resume, up to a step of the predictor's training, and return the URI of the weights as they are then.

    For work that looks at a training now and then: between two calls no worker runs, and the schedules are those of the
    whole training. With workers, Ray must be connected.

    Args:
        config: Config of the whole training.
        step: optimizer updates in all; 0 makes the encoder and the style bank alone.

    Raises: as `main`.
    """
    if not config.most_workers:
        return Trainer(config, until=step, threads=config.cpus_per_worker).fit()
    from workflows.training_on_ray import run_workers

    trainer = _prepared(config)
    run_workers(config, NoTerminationNotice(), step)
    return trainer.folder.weights


def _joined_ray() -> AbstractContextManager[None]:
    return ray_session(0) if os.environ.get("RAY_ADDRESS") else nullcontext()


def _ray_metrics(stage: str) -> Sequence[Tracker]:
    return [TrainingMetrics(stage)] if ray.is_initialized() else []


def _prepared(config: TrainConfig) -> Trainer:
    """Check the inputs and write the config into the run folder on behalf of the workers; this process needs no GPU."""
    trainer = Trainer(config, device=torch.device("cpu"))
    trainer.prepare()
    return trainer


if __name__ == "__main__":
    from workflows import as_command

    as_command("train")
