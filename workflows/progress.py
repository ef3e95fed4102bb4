"""Progress of trainings and sweeps, wherever their workers are: read from what they keep in their folders."""

from contextlib import AbstractContextManager

from dakpn.config import TrainConfig, TuneConfig
from dakpn.errors import DakpnError, StorageError
from dakpn.progress import ShowProgress, followed
from dakpn.training.encoder import encoder_rounds
from dakpn.training.reporting import read_metrics
from dakpn.training.run_folder import RunFolder
from dakpn.tuning.records import SweepFolder
from dakpn.wording import counted

_LOOK_AT_METRICS_EVERY_S = 1.0
_LOOK_AT_TRIALS_EVERY_S = 5.0


def training_progress(config: TrainConfig) -> AbstractContextManager[None]:
    """Show steps done, images a second and the share of waiting for data while the block runs."""
    return followed("training", "steps", _LOOK_AT_METRICS_EVERY_S, lambda show: _show_training(config, show))


def sweep_progress(config: TuneConfig) -> AbstractContextManager[None]:
    """Show scores taken, trials begun and failed, and the best score while the block runs."""
    return followed("tuning", "scores", _LOOK_AT_TRIALS_EVERY_S, lambda show: _show_sweep(config, show))


def _show_training(config: TrainConfig, show: ShowProgress) -> None:
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


def _show_sweep(config: TuneConfig, show: ShowProgress) -> None:
    try:
        records = SweepFolder(config.output).records()
    except DakpnError:
        return  # whoever needs them will say so
    each = -(-config.adversarial.steps // config.report_every_steps)
    best_of = max if config.tune.objective.mode == "max" else min
    scores = [record.last.objective for record in records if record.last]
    failed = sum(record.failure is not None for record in records)
    note = f"{len(records)} of {counted(config.tune.trials, 'trial')} begun" + (f", {failed} failed" if failed else "")
    if scores:
        note += f", best {config.tune.objective.kind} {best_of(scores):.4g}"
    show(sum(len(record.scores) for record in records), each * config.tune.trials, note)
