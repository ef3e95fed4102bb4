"""Tune: trials of one training with other settings, which Ray Tune chooses, ends and changes by their scores."""

import logging
import os
import warnings
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import ray
from ray import tune
from ray.tune import ResultGrid, RunConfig, Tuner
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.failures import actionable_error
from cluster.ingest import stream_cpus
from cluster.ray_storage import ray_storage
from cluster.session import interruptible, ray_session
from cluster.sweep_stop import SweepStop, sweep_stop
from cluster.trial_slots import TrialNeeds, start_queue, trial_slots
from dakpn import storage
from dakpn.config import TuneConfig
from dakpn.errors import TrainingError
from dakpn.models.weights_files import has_weights
from dakpn.report.sweep_page import render_sweep, sweep_page
from dakpn.tuning.objective import check_objective, downstream_config
from dakpn.tuning.outcome import (
    SweepOutcome,
    chosen_for_correlation,
    correlation_sentence,
    judge_sweep,
    lead_sentence,
    ranked,
    results_csv,
    results_of,
    shown_miou,
    shown_objective,
    shown_value,
)
from dakpn.tuning.records import SweepFolder, TrialRecord
from dakpn.tuning.space import check_space, shares_encoder, training_config, winning_yaml
from dakpn.wording import counted
from workflows import evaluate
from workflows.progress import sweep_progress
from workflows.train import train_until
from workflows.tune_search import OBJECTIVE, ray_space, scheduler_of, search_of
from workflows.tune_trial import run_trial

logger = logging.getLogger(__name__)

_WIDTH_IN_FILES = 140
_EXPERIMENT = "ray_tune"
_TOKEN: dict[str, float] = {"memory": 1_000_000}
"""A trial's own process only waits for the queue; Ray Tune wants it to need something."""
_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the records say it all
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean in a trial what they mean to the command
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints whatever its verbosity
}


def main(config: TuneConfig, retry_failed: bool = False) -> SweepOutcome:
    """Run a sweep, or what is left of it, and write its results.

    Args:
        config: Config of the sweep.
        retry_failed: let trials that failed in an earlier run go on.

    Raises:
        UsageError, ConfigError: the search space, inputs, cluster or folder do not fit, found before any trial runs.
        TrainingError: all trials failed.
        TerminatedError: ended by SIGTERM.
    """
    check_space(config)
    check_objective(config)
    search_of(config, 1)
    folder, needs = SweepFolder(config.output), _needs(config)
    storage.preflight(config.output, write=True)
    folder.begin(config)
    with ray_session(needs.total_cpus, needs.total_cpus * (config.tune.max_concurrent or 1)), sweep_stop() as stop:
        slots = trial_slots(needs, config.tune.max_concurrent)
        _make_shared(config, folder)
        _run_trials(config, slots, stop, retry_failed)
        outcome = judge_sweep(config, folder.records(), _measure_mious(config, folder, slots))
    _write_results(config, folder, outcome)
    if outcome.winner is None:
        reason = next((trial.record.failure for trial in outcome.trials if trial.record.failure), "no reason is known")
        raise TrainingError(
            f"all {len(outcome.trials)} trials failed, the first with: {reason}; mend that, and run the same command "
            "with --retry-failed"
        )
    return outcome


def _needs(config: TuneConfig) -> TrialNeeds:
    """What a trial holds: its workers, their data streams and its own segment, or, without workers, that alone."""
    gpus = 1.0 if config.use_gpu else 0.0
    if config.most_workers == 0:
        return TrialNeeds(1, config.cpus_per_worker, gpus, 0.0)
    return TrialNeeds(config.most_workers, config.cpus_per_worker, gpus, 1.0 + stream_cpus(config.most_workers))


def _make_shared(config: TuneConfig, folder: SweepFolder) -> None:
    """Train the source segmenter once, if it is the same for all trials; the (untrained) weights are written last."""
    if not shares_encoder(config) or has_weights(folder.shared.weights):
        return
    logger.info("source segmenter for all trials: %s", folder.shared.encoder)
    with interruptible():
        train_until(training_config(config, {}, run=folder.shared.uri), 0)


def _run_trials(config: TuneConfig, slots: int, stop: SweepStop, retry_failed: bool) -> None:
    os.environ.update(_TUNE_SETTINGS)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures stand in the records
    warnings.filterwarnings("ignore", "Consider boosting PBT")  # a trial's process is cheap: it only waits
    logger.info("%s, %d at a time: %s", counted(config.tune.trials, "trial"), slots, config.output)
    queue = start_queue(slots, config.tune.trials)
    try:
        with sweep_progress(config), stop.heeded_by_ray_tune():
            grid = _tuner(config, slots, retry_failed, queue).fit()
    finally:
        ray.kill(queue)
    _keep_failures(config, grid)


def _tuner(config: TuneConfig, slots: int, retry_failed: bool, queue: Any) -> Tuner:
    trainable = tune.with_parameters(run_trial, sweep=config.model_dump(mode="json"), queue=queue)
    trainable = tune.with_resources(trainable, _TOKEN)
    path, files = ray_storage(SweepFolder(config.output).ray)
    at = f"{path.rstrip('/')}/{_EXPERIMENT}"
    if Tuner.can_restore(at, storage_filesystem=files):
        return Tuner.restore(at, trainable, storage_filesystem=files, resume_errored=retry_failed)
    return Tuner(
        trainable,
        param_space=ray_space(config),
        tune_config=tune.TuneConfig(
            metric=OBJECTIVE,
            mode=config.tune.objective.mode,
            search_alg=search_of(config, slots),
            scheduler=scheduler_of(config),
            num_samples=config.tune.trials,
            trial_dirname_creator=_trial_id,
        ),
        run_config=RunConfig(name=_EXPERIMENT, storage_path=path, storage_filesystem=files, verbose=0),
    )


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


def _keep_failures(config: TuneConfig, grid: ResultGrid) -> None:
    """A trial that could not say itself why it ended, since its process was lost, gets the reason that Ray has."""
    for result in grid:
        trial = SweepFolder(config.output).trial(PurePosixPath(result.path).name)
        record = trial.read() or TrialRecord(trial.trial, 0.0, {})
        if result.error is not None and record.failure is None:
            known = actionable_error(result.error) or result.error
            record = replace(record, failure=" ".join(str(known).split()) or "its process was lost")
            trial.write(record)
        if record.failure is not None:
            logger.warning("trial %s failed: %s", record.trial, record.failure)


def _measure_mious(config: TuneConfig, folder: SweepFolder, slots: int) -> dict[str, dict[int, float]]:
    """The mIoU that the segmenters of some trials of a sweep by proxy reach, by trial and seed."""
    chosen = chosen_for_correlation(config, judge_sweep(config, folder.records(), {}).trials)
    weights = {trial.record.trial: trial.record.last.weights for trial in chosen if trial.record.last}
    if not weights:
        return {}
    trials = counted(len(weights), "trial")
    logger.info("mIoU of %s, for the rank correlation with %s", trials, config.tune.objective.kind)
    cells = evaluate.main(downstream_config(config, weights, folder.downstream, slots))
    return {name: {c["seed"]: c["miou"] for c in cells if c["contender"] == name} for name in weights}


def _write_results(config: TuneConfig, folder: SweepFolder, outcome: SweepOutcome) -> None:
    storage.write_json(folder.result("results.json"), results_of(config, outcome))
    storage.write_bytes(folder.result("trials.csv"), results_csv(config, outcome).encode())
    storage.write_bytes(folder.result("report.html"), render_sweep(sweep_page(config, outcome)).encode())
    if outcome.winner is not None:
        text = winning_yaml(config, outcome.winner.record.values)
        storage.write_bytes(folder.result("best.yaml"), text.encode())


def print_results(config: TuneConfig, outcome: SweepOutcome) -> None:
    """A table of the trials, the best first, and where the results are, to stdout."""
    folder = SweepFolder(config.output)
    console = Console()
    wide = None if console.is_terminal else _WIDTH_IN_FILES
    console.print(_table(config, outcome), width=wide, crop=False, soft_wrap=False)
    if outcome.correlation is not None:
        console.print(correlation_sentence(config, outcome.correlation), markup=False, soft_wrap=True)
    if outcome.winner is not None:
        console.print(f"best: trial {outcome.winner.number}", markup=False)
        if outcome.lead is not None:
            console.print(lead_sentence(outcome.lead), markup=False, soft_wrap=True)
        console.print(f"config: {folder.result('best.yaml')}", markup=False, soft_wrap=True)
    console.print(f"report: {folder.result('report.html')}", markup=False, soft_wrap=True)


def _table(config: TuneConfig, outcome: SweepOutcome) -> Table:
    objective, space = config.tune.objective, config.tune.space
    measured = any(trial.miou is not None for trial in outcome.trials)
    title = f"{objective.kind}, {'more' if objective.mode == 'max' else 'less'} is better"
    table = Table(
        "trial", "ended", "step", objective.kind, *(["mIoU"] if measured else []), *map(escape, space), title=title
    )
    ranking = ranked(config, outcome.trials)
    for trial in [*ranking, *(trial for trial in outcome.trials if trial not in ranking)]:
        last = trial.record.last
        table.add_row(
            str(trial.number),
            trial.status,
            str(last.step) if last else "",
            shown_objective(config, trial.objective),
            *([shown_miou(trial.miou)] if measured else []),
            *(escape(shown_value(trial.record.values.get(key))) for key in space),
        )
    return table


if __name__ == "__main__":
    from workflows import as_command

    as_command("tune")
