"""The search space, search and scheduler of a sweep in Ray Tune's terms."""

import json
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain

from dakpn.config import AshaConfig, DimensionConfig, OptunaSearchConfig, PbtConfig, TuneConfig
from dakpn.errors import UsageError
from dakpn.tuning.space import Values

STEP, OBJECTIVE = "step", "objective"
"""What a trial reports."""


def ray_space(config: TuneConfig) -> dict[str, Domain]:
    """Domains by dotted key; choices are texts, whatever they are, which every search and scheduler can handle."""
    return {key: _domain(dimension) for key, dimension in config.tune.space.items()}


def values_of(sampled: Mapping[str, Any], config: TuneConfig) -> Values:
    """The values that Ray Tune has drawn."""
    space = config.tune.space
    return {key: json.loads(value) if space[key].choice is not None else value for key, value in sampled.items()}


def search_of(config: TuneConfig, slots: int) -> BasicVariantGenerator | ConcurrencyLimiter:
    """The search algorithm, which begins a trial when there is a slot for it.

    A population begins at once, since its trials copy one another: they take turns.

    Raises:
        UsageError: Optuna is not installed.
    """
    search = config.tune.search
    if not isinstance(search, OptunaSearchConfig):
        at_once = config.tune.trials if isinstance(config.tune.scheduler, PbtConfig) else slots
        return BasicVariantGenerator(max_concurrent=at_once, random_state=config.seed)
    try:
        from optuna import logging
        from optuna.samplers import TPESampler
    except ImportError:
        raise UsageError(
            "tune.search.kind=optuna needs Optuna, and it is not installed; install `dakpn[optuna]`, or take "
            "tune.search.kind=random"
        ) from None
    logging.set_verbosity(logging.WARNING)
    sampler = TPESampler(seed=config.seed, n_startup_trials=search.random_trials, multivariate=False)
    return ConcurrencyLimiter(OptunaSearch(sampler=sampler), max_concurrent=slots)


def scheduler_of(config: TuneConfig) -> TrialScheduler:
    """The scheduler; it counts steps of the predictor's training."""
    scheduler = config.tune.scheduler
    if isinstance(scheduler, AshaConfig):
        return AsyncHyperBandScheduler(
            time_attr=STEP,
            max_t=config.adversarial.steps,
            grace_period=scheduler.grace_steps or config.report_every_steps,
            reduction_factor=scheduler.reduction_factor,
        )
    if isinstance(scheduler, PbtConfig):
        return PopulationBasedTraining(
            time_attr=STEP,
            perturbation_interval=scheduler.perturb_every or config.report_every_steps,
            hyperparam_mutations={key: _mutation(dimension) for key, dimension in config.tune.space.items()},
            quantile_fraction=scheduler.quantile,
            resample_probability=scheduler.resample_probability,
            custom_explore_fn=_KeepInside({key: d.bounds for key, d in config.tune.space.items() if d.bounds}),
            log_config=False,
            synch=True,  # else a trial would be compared with others at other steps
        )
    return FIFOScheduler()


class _KeepInside:
    """Brings values that were multiplied beyond their bounds back to them."""

    def __init__(self, bounds: dict[str, tuple[float, float]]) -> None:
        self._bounds = bounds

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        inside = {key: min(max(values[key], low), high) for key, (low, high) in self._bounds.items()}
        return {**values, **inside}


def _domain(dimension: DimensionConfig) -> Domain:
    if dimension.uniform:
        return tune.uniform(*dimension.uniform)
    if dimension.log_uniform:
        return tune.loguniform(*dimension.log_uniform)
    if dimension.integer:
        return tune.randint(dimension.integer[0], dimension.integer[1] + 1)
    if dimension.log_integer:
        return tune.lograndint(dimension.log_integer[0], dimension.log_integer[1] + 1)
    return tune.choice(_texts(dimension))


def _mutation(dimension: DimensionConfig) -> Domain | list[str]:
    """Choices as a list: neighbors are near to one another."""
    return _texts(dimension) if dimension.choice is not None else _domain(dimension)


def _texts(dimension: DimensionConfig) -> list[str]:
    return [json.dumps(value) for value in dimension.choice or ()]
