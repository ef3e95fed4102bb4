"""One segment of a trial: train up to the next score, then take it. Here is what needs torch."""

import logging
import time
from typing import Any

from cluster.session import quiet_ray
from dakpn.config import PbtConfig, TrainConfig, TuneConfig
from dakpn.segmentation.examples import limit_threads
from dakpn.training.encoder import copy_styles
from dakpn.training.fork import fork_checkpoint
from dakpn.training.run_folder import RunFolder
from dakpn.tuning.objective import score_weights
from dakpn.tuning.records import Pointer, Score, SweepFolder
from dakpn.tuning.space import Values, shares_encoder, shares_styles, training_config
from workflows.train import train_until

_RATES = {"predictor": "predictor_learning_rate", "discriminator": "discriminator_learning_rate"}


def take_segment(sweep: dict[str, Any], trial: str, values: dict[str, Any], donor: Pointer | None, step: int) -> Score:
    """Train a trial up to a step and score it there; what was trained before is not trained again.

    Args:
        sweep: the sweep's config, as JSON.
        trial: id.
        values: Values of the search space.
        donor: checkpoint of another trial, or of other values, that the run goes on from.
        step: Step of the predictor's training.
    """
    started = time.monotonic()
    _quiet()
    config, folder = TuneConfig.model_validate(sweep), SweepFolder(sweep["tune"]["output"])
    limit_threads(config.cpus_per_worker)
    training = _training(config, folder, values, folder.trial(trial).run(donor, values))
    if donor is not None:
        _fork(config, donor, training)
    weights = train_until(training, step)
    objective, mious = score_weights(config, weights, folder.trial(trial).downstream)
    return Score(step, objective, training.run, values, time.monotonic() - started, mious)


def _quiet() -> None:
    """The driver tells how the sweep goes; of each trial there is its own run folder."""
    quiet_ray()
    for name in ("dakpn", "workflows"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _training(config: TuneConfig, sweep: SweepFolder, values: Values, run: str) -> TrainConfig:
    changes: dict[str, Any] = {}
    if shares_encoder(config):
        changes["encoder"] = config.encoder.model_copy(update={"weights": sweep.shared.encoder})
    if shares_styles(config):
        copy_styles(sweep.shared.styles, RunFolder(run).styles)
    if isinstance(config.tune.scheduler, PbtConfig):  # another trial may go on from any of its scores
        changes["checkpoint_every"] = config.report_every_steps
        changes["keep_checkpoints"] = -(-config.adversarial.steps // config.report_every_steps)
    return training_config(config.model_copy(update=changes), values, run=run)


def _fork(config: TuneConfig, donor: Pointer, training: TrainConfig) -> None:
    before, now = training_config(config, donor.values).adversarial, training.adversarial
    factors = {player: getattr(now, rate) / getattr(before, rate) for player, rate in _RATES.items()}
    fork_checkpoint(RunFolder(donor.run), donor.step, RunFolder(training.run), factors)
