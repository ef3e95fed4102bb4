"""Progress of a training, wherever its workers are: read from the metrics in the run's folder."""

from contextlib import AbstractContextManager

from dakpn.config import TrainConfig
from dakpn.errors import StorageError
from dakpn.progress import ShowProgress, followed
from dakpn.training.encoder import encoder_rounds
from dakpn.training.reporting import read_metrics
from dakpn.training.run_folder import RunFolder

_LOOK_EVERY_S = 1.0


def training_progress(config: TrainConfig) -> AbstractContextManager[None]:
    """Show steps done, images a second and the share of waiting for data while the block runs."""
    return followed("training", "steps", _LOOK_EVERY_S, lambda show: _look(config, show))


def _look(config: TrainConfig, show: ShowProgress) -> None:
    try:
        lines = read_metrics(RunFolder(config.run).metrics)
    except StorageError:
        return  # whoever trains will say so
    if not lines:
        return
    last = lines[-1]
    each, trainings = config.encoder.training.steps, config.encoder_trainings
    stages = [planned.stage for planned in encoder_rounds(RunFolder(config.run), trainings - 1)]
    before = each * (stages.index(last["stage"]) if last["stage"] in stages else trainings)
    waiting = f"{last['data_wait_share']:.0%} waiting for data"
    note = f"{last['stage']}: {last['images_per_second']:.3g} images/s, {waiting}"
    show(before + last["step"], each * trainings + config.adversarial.steps, note)
