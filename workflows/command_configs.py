"""The config of a command from its arguments: for the command itself, and for a job that will run it."""

import json
from collections.abc import Sequence
from pathlib import Path

from dakpn.config import EvaluateConfig, TrainConfig, TranslateConfig, TuneConfig
from dakpn.config_file import build_config, load_config
from dakpn.errors import UsageError


def train_config(config: Path, overrides: Sequence[str] | None = None) -> TrainConfig:
    """Of `dakpn train`; the section `tune`, which is for `dakpn tune`, is left out."""
    return load_config(TrainConfig, config, overrides or (), leave_out=("tune",))


def tune_config(config: Path, overrides: Sequence[str] | None = None) -> TuneConfig:
    """Of `dakpn tune`."""
    return load_config(TuneConfig, config, overrides or ())


def translate_config(weights: str, input: str, output: str, overrides: Sequence[str] | None = None) -> TranslateConfig:  # noqa: A002 - the option's name
    """Of `dakpn translate`."""
    return build_config(TranslateConfig, {"weights": weights, "input": input, "output": output}, overrides or ())


def evaluate_config(
    config: Path,
    overrides: Sequence[str] | None = None,
    contender: Sequence[str] | None = None,
    quick: bool = False,
) -> EvaluateConfig:
    """Of `dakpn evaluate`."""
    settings = load_config(EvaluateConfig, config, [*(overrides or ()), *_contender_overrides(contender or ())])
    return settings.quick() if quick else settings


def _contender_overrides(contenders: Sequence[str]) -> list[str]:
    """Overrides for `--contender NAME=URI`."""
    overrides = []
    for text in contenders:
        name, separator, uri = text.partition("=")
        if not separator or not name or not uri or "." in name:
            raise UsageError(f"got the contender {text!r}; expected NAME=URI, and no dot in the name")
        overrides.append(f"contenders.{name}={json.dumps(uri)}")
    return overrides
