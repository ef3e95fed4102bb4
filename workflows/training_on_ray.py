"""A training on Ray: its workers, each one rank of a `Trainer` on its own part of the data, and their driver."""

import logging
from functools import partial
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from cluster.failures import StopAtLastingError
from cluster.ingest import prepared_on_ray, stream_cpus
from cluster.metrics import TrainingMetrics
from cluster.ray_storage import ray_storage
from cluster.session import quiet_ray
from dakpn import storage
from dakpn.config import TrainConfig
from dakpn.segmentation.examples import limit_threads
from dakpn.training.loop import TerminationNotice
from dakpn.training.trainer import Rank, Trainer


def run_workers(config: TrainConfig, notice: TerminationNotice, until: int | None = None) -> None:
    """Train in Ray's workers; Ray must be connected.

    Args:
        config: The config of the run, whose folder is prepared.
        notice: Tells the workers when a checkpoint is wanted; it must be picklable.
        until: Steps of the predictor's training after which it ends; None trains to the end.

    Raises:
        DataError, StorageError, TrainingError: found while training, inside of what Ray wraps around them.
    """
    path, files = ray_storage(storage.join(config.run, "ray"))  # Ray's own book-keeping
    told = {"config": _absolute(config).model_dump(mode="json"), "notice": notice, "until": until}
    TorchTrainer(
        _work,
        train_loop_config=told,
        scaling_config=ScalingConfig(
            num_workers=config.workers,  # pyright: ignore[reportArgumentType] - a range is one too
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker},
        ),
        run_config=RunConfig(
            name="ray_train",
            storage_path=path,
            storage_filesystem=files,
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=[StopAtLastingError()],
        ),
    ).fit()


def _absolute(config: TrainConfig) -> TrainConfig:
    """The config with absolute paths: Ray's workers run in another folder than the command."""
    encoder = config.encoder
    network = encoder.network
    if pretrained := getattr(network, "pretrained", None):
        network = network.model_copy(update={"pretrained": pretrained.absolute()})
    weights = encoder.weights and storage.absolute(encoder.weights)
    uris = {name: storage.absolute(getattr(config, name)) for name in ("run", "synthetic", "real")}
    encoder = encoder.model_copy(update={"network": network, "weights": weights})
    return config.model_copy(update={**uris, "encoder": encoder})


def held_cpus(config: TrainConfig) -> tuple[float, float]:
    """CPUs held at the same time by the fewest workers, with the streams they cannot do without, and by the most."""
    fewest, most = (
        workers * config.cpus_per_worker + stream_cpus(workers)
        for workers in (config.fewest_workers, config.most_workers)
    )
    return fewest, most


def _work(loop_config: dict[str, Any]) -> None:
    """What every worker runs: all stages, each resuming from its newest complete checkpoint."""
    quiet_ray()
    logging.getLogger("dakpn").setLevel(logging.INFO)
    config = TrainConfig.model_validate(loop_config["config"])
    context, device = ray.train.get_context(), get_device()
    if device.type == "cpu":
        limit_threads(config.cpus_per_worker)
    trainer = Trainer(
        config,
        rank=Rank(context.get_world_rank(), context.get_world_size()),
        device=device,
        prepared=partial(prepared_on_ray, prefetch_batches=config.stream.prefetch_batches),
        notice=loop_config["notice"],
        trackers=lambda stage: [TrainingMetrics(stage)],
        until=loop_config["until"],
    )
    trainer.train()
    ray.train.report({"step": trainer.predictor_steps})
