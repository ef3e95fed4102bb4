"""Configs and records of sweeps that never ran."""

from typing import Any

from dakpn.config import TuneConfig
from dakpn.config_file import build_config
from dakpn.tuning.records import Score, TrialRecord

RATE, WEIGHT, STYLE = "adversarial.predictor_learning_rate", "adversarial.identity_weight", "style"
SPACE: dict[str, Any] = {
    RATE: {"log_uniform": [1e-4, 1e-2]},
    WEIGHT: {"uniform": [0.0, 2.0]},
    STYLE: {"choice": [{"kind": "none"}, {"kind": "class", "entries": 8}]},
}


def sweep_config(*overrides: str, space: dict[str, Any] | None = None, **sweep: Any) -> TuneConfig:
    values = {
        "synthetic": "synthetic",
        "real": "real",
        "adversarial": {"steps": 8},
        "tune": {
            "output": "out",
            "space": SPACE if space is None else space,
            "objective": {"kind": "colors"},
            "report_every": 4,
            **sweep,
        },
    }
    return build_config(TuneConfig, values, overrides)


def record(name: str, *objectives: float, failure: str | None = None, mious: Any = None, **changes: Any) -> TrialRecord:
    """A trial scored every 4 steps."""
    values = {RATE: 1e-3, WEIGHT: 1.0, STYLE: {"kind": "none"}}
    scores = tuple(
        Score(4 * n, objective, f"out/trials/{name}/run", values, 1.0, mious or {})
        for n, objective in enumerate(objectives, start=1)
    )
    return TrialRecord(name, 0.0, values, scores, failure, **changes)
