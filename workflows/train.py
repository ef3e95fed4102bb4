"""Train: the source segmenter if there is none, then the kernel predictor against the discriminators."""

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cluster.failures import StopAtLastingError
from cluster.session import interruptible, ray_session
from cluster.termination import TrainNotice, termination_notice
from dakpn.config import TrainConfig
from dakpn.data import manifest, storage
from dakpn.data.datasets import LabelSpace
from dakpn.errors import UsageError
from dakpn.models.networks import require_network
from dakpn.models.weights import load_segmenter
from dakpn.segmentation.examples import labelled_index
from dakpn.training.loop import NoNotice
from dakpn.training.run_folder import RunFolder
from workflows.ingest import READER_CPUS
from workflows.training_progress import training_progress
from workflows.training_worker import train_worker

STREAMS = 2


def main(config: TrainConfig) -> str:
    """Train, or resume, and return the URI of the weights.

    Raises:
        UsageError, ConfigError: inputs or run folder do not fit, found before any worker starts.
        DataError, StorageError, TrainingError: found while training.
    """
    folder = _prepare(config)
    with (
        ray_session(*_cpus(config)),
        interruptible(),
        termination_notice(config.most_workers, config.report_every) as notice,
        training_progress(config),
    ):
        _trainer(config, notice).fit()
    return folder.weights


def train_until(config: TrainConfig, step: int) -> str:
    """Train, or resume, up to a step of the predictor's training, and return the URI of the weights as they are then.

    For work that looks at a training now and then: between two calls no worker runs, and the schedules are those of the
    whole training. Ray must be connected.

    Args:
        config: of the whole training.
        step: optimizer updates in all; 0 makes the encoder and the style bank alone.

    Raises: as `main`.
    """
    folder = _prepare(config)
    _trainer(config, NoNotice(), step).fit()
    return folder.weights


def _prepare(config: TrainConfig) -> RunFolder:
    """Check the inputs, and claim the run folder."""
    label_space, _ = labelled_index(config.synthetic)
    manifest.read_index(config.real)
    if config.encoder.weights is not None:
        _require_same_classes(config.encoder.weights, label_space)
    else:
        require_network(config.encoder.network)
    folder = RunFolder(config.run)
    storage.preflight(config.run, write=True)
    folder.claim(config)
    return folder


def _trainer(config: TrainConfig, notice: TrainNotice, until: int | None = None) -> TorchTrainer:
    return TorchTrainer(
        train_worker,
        train_loop_config={"config": config.model_dump(mode="json"), "notice": notice, "until": until},
        scaling_config=ScalingConfig(
            num_workers=config.workers,  # pyright: ignore[reportArgumentType] - a range is one too
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker} if config.workers else None,
        ),
        run_config=RunConfig(
            name="ray_train",
            storage_path=_ray_storage(config.run),
            failure_config=FailureConfig(max_failures=config.max_failures),
            callbacks=[StopAtLastingError()],
        ),
    )


def _cpus(config: TrainConfig) -> tuple[float, float]:
    """CPUs held at the same time by the fewest workers and by the most."""
    each = config.cpus_per_worker + STREAMS * READER_CPUS
    return max(config.fewest_workers, 1) * each, max(config.most_workers, 1) * each


def _require_same_classes(weights: str, label_space: LabelSpace) -> None:
    found = load_segmenter(weights)[2].class_names
    if found != label_space.class_names:
        raise UsageError(
            f"encoder weights {weights} were trained on the classes {', '.join(found)}; expected those of the "
            f"synthetic dataset: {', '.join(label_space.class_names)}"
        )


def _ray_storage(run: str) -> str:
    """Ray's own book-keeping lives in the run folder; a local path must be absolute for it."""
    return storage.absolute(storage.join(run, "ray"))


if __name__ == "__main__":
    from workflows.cli import run

    run("train")
