"""From values of the search space to the config of a training, all of them checked before any work starts."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dakpn.config import DimensionConfig, TrainConfig, TuneConfig
from dakpn.config_file import build_config, to_yaml
from dakpn.errors import ConfigError

Values = Mapping[str, Any]
"""dotted.key -> value."""
_MOST_COMBINATIONS = 256
_NOT_OF_A_TRIAL = ("run", "synthetic", "real", "tune")


def training_config(config: TuneConfig, values: Values, **changes: Any) -> TrainConfig:
    """The training of a trial: the config with these values in it.

    Args:
        config: Config of the sweep.
        values: Values of the search space.
        changes: other fields at the top level, such as `run`.

    Raises:
        ConfigError: the values do not fit the schema; the message names the key and, if unknown, the valid ones.
    """
    settings = config.model_dump(mode="json", exclude={"tune"}) | changes
    for key, value in values.items():
        _put(settings, key, value)
    return build_config(TrainConfig, settings, origin="tune.space")


def check_space(config: TuneConfig) -> None:
    """Try every bound and choice, alone and in combination with the others (a part of them where there are many).

    Raises:
        ConfigError: one does not fit.
    """
    space = config.tune.space
    for key, dimension in space.items():
        if key.partition(".")[0] in _NOT_OF_A_TRIAL:
            raise ConfigError(f"tune.space.{key}: {key} is the same for all trials; vary a setting of the training")
        for value in dimension.corners:
            training_config(config, {key: value})
    for values in _combinations(space):
        training_config(config, values)


def shares_encoder(config: TuneConfig) -> bool:
    """Whether one source segmenter does for all trials: none of its settings varies, and no weights are given."""
    of_adaptation = ("style", "prediction_size") if config.encoder.adaptation_rounds else ()
    return config.encoder.weights is None and not _varies(config, "encoder", "seed", "precision", *of_adaptation)


def shares_styles(config: TuneConfig) -> bool:
    """Whether one style bank does for all trials."""
    return shares_encoder(config) and not _varies(config, "style", "prediction_size")


def winning_yaml(config: TuneConfig, values: Values) -> str:
    """The training config of these values, which `dakpn train` takes as it is."""
    return to_yaml(training_config(config, values))


def _varies(config: TuneConfig, *sections: str) -> bool:
    return any(key.partition(".")[0] in sections for key in config.tune.space)


def _combinations(space: Mapping[str, DimensionConfig]) -> Iterator[dict[str, Any]]:
    corners = [dimension.corners for dimension in space.values()]
    if np.prod([float(len(values)) for values in corners]) <= _MOST_COMBINATIONS:
        combinations = itertools.product(*corners)
    else:
        rng = np.random.default_rng(0)
        drawn = range(_MOST_COMBINATIONS)
        combinations = (tuple(values[rng.integers(len(values))] for values in corners) for _ in drawn)
    for values in combinations:
        yield dict(zip(space, values, strict=True))


def _put(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Replace what stands at a dotted key; the schema says later whether the key exists."""
    *parents, last = dotted.split(".")
    for number, parent in enumerate(parents):
        child = settings.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"tune.space.{dotted}: {'.'.join(parents[: number + 1])} is a value, not a section")
        settings = child
    settings[last] = value
