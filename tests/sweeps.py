"""Sweeps of a few tiny trials."""

from pathlib import Path
from typing import Any

from dakpn.config import TuneConfig
from dakpn.config_file import build_config
from tests.scenes import TINY_TRAINING, Scenes

RATE, WIDTHS, WEIGHT = "adversarial.predictor_learning_rate", "discriminator.widths", "adversarial.identity_weight"
SPACE: dict[str, Any] = {RATE: {"log_uniform": [1e-4, 1e-2]}, WIDTHS: {"choice": [[8, 16], [4, 8]]}}
SEGMENTER: dict[str, Any] = {
    "network": {"widths": [4, 8, 8, 16]},
    "training": {"size": [24, 32], "steps": 4, "batch_size_per_worker": 2},
}


def tiny_sweep(output: Path, scenes: Scenes, *overrides: str, space: dict | None = None, **settings: Any) -> TuneConfig:
    section = {
        "output": str(output),
        "trials": 6,
        "report_every": 4,
        "space": SPACE if space is None else space,
        "objective": {"kind": "colors", "images": 4, "validation": scenes.test, "correlate": 3, **SEGMENTER},
        **settings,
    }
    datasets = {"synthetic": scenes.synthetic, "real": scenes.real}
    return build_config(TuneConfig, {**TINY_TRAINING, **datasets, "tune": section}, overrides)
