"""The config of a command from its arguments: for the command itself, and for a job that will run it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dakpn.config import (
    CheckConfig,
    Config,
    DemoConfig,
    EvaluateConfig,
    PackConfig,
    TrainConfig,
    TranslateConfig,
    TuneConfig,
    VerifyConfig,
)
from dakpn.config_file import build_config, load_config
from dakpn.errors import UsageError

C = TypeVar("C", bound=Config)

CONFIGS: dict[str, type[Config]] = {
    "check": CheckConfig,
    "pack": PackConfig,
    "train": TrainConfig,
    "tune": TuneConfig,
    "translate": TranslateConfig,
    "verify": VerifyConfig,
    "evaluate": EvaluateConfig,
    "demo": DemoConfig,
}
"""Command: the class of all its settings."""


def pack_config(words: Sequence[str], **options: Any) -> PackConfig:
    """Config of `dakpn pack`: `SRC OUT` and options, or `CONFIG.yaml KEY=VALUE...`; checks preset and rule."""
    from dakpn.sources.exclusions import KeepRule

    settings = _of_words(PackConfig, {"source": "SRC", "output": "OUT"}, words, options)
    _require_preset(settings.dataset)
    if settings.keep:
        KeepRule.parse(settings.keep)
    return settings


def check_config(words: Sequence[str], **options: Any) -> CheckConfig:
    """Config of `dakpn check`: `SRC` and options, or `CONFIG.yaml KEY=VALUE...`; checks the preset."""
    settings = _of_words(CheckConfig, {"source": "SRC"}, words, options)
    _require_preset(settings.dataset)
    return settings


def is_config_file(word: str) -> bool:
    """Tell whether the first word of `dakpn pack` or `dakpn check` is a config: a file's name, by its ending."""
    return word.lower().endswith((".yaml", ".yml")) and "://" not in word and not Path(word).is_dir()


def train_config(config: Path, overrides: Sequence[str] | None = None) -> TrainConfig:
    """Config of `dakpn train`; the section `tune`, which is for `dakpn tune`, is left out."""
    return load_config(TrainConfig, config, overrides or (), leave_out=("tune",))


def tune_config(config: Path, overrides: Sequence[str] | None = None) -> TuneConfig:
    """Config of `dakpn tune`."""
    return load_config(TuneConfig, config, overrides or ())


def translate_config(weights: str, input: str, output: str, overrides: Sequence[str] | None = None) -> TranslateConfig:  # noqa: A002 - the option's name
    """Config of `dakpn translate`."""
    return build_config(TranslateConfig, {"weights": weights, "input": input, "output": output}, overrides or ())


def evaluate_config(
    config: Path,
    overrides: Sequence[str] | None = None,
    contender: Sequence[str] | None = None,
    quick: bool = False,
) -> EvaluateConfig:
    """Config of `dakpn evaluate`."""
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


def _of_words(schema: type[C], places: Mapping[str, str], words: Sequence[str], options: Mapping[str, Any]) -> C:
    """A config from a file and overrides, or from what stands at `places` (field -> its name in the usage)."""
    given = {name: value for name, value in options.items() if value is not None}
    if is_config_file(words[0]):
        if given:
            name, value = next(iter(given.items()))
            flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
            raise UsageError(
                f"got the option {flag} beside the config {words[0]}, whose settings are given as KEY=VALUE; write "
                f"{name}={str(value).lower() if isinstance(value, bool) else value}"
            )
        return load_config(schema, words[0], words[1:])
    if len(words) != len(places):
        usage = " ".join(places.values())
        raise UsageError(
            f"got {' '.join(words)!r}, expected {usage} and options (--split, ...), or CONFIG.yaml and settings "
            "(split=..., ...); a config is a file whose name ends in .yaml or .yml"
        )
    return build_config(schema, {**dict(zip(places, words, strict=True)), **given})


def _require_preset(name: str | None) -> None:
    """Refuse a preset that is not there. Raises `UsageError`."""
    if name:
        from dakpn.sources.preset import load_preset  # brings numpy, which a training's config does not need

        load_preset(name)
