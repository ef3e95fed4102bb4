"""A run folder belongs to one set of settings; its metrics follow the steps that count."""

from pathlib import Path

import pytest

from dakpn.config import TrainConfig
from dakpn.config_file import build_config, load_config
from dakpn.errors import ConfigError
from dakpn.training.health import Alarm
from dakpn.training.metrics_log import MetricsLog, read_alarms, read_metrics
from dakpn.training.run_folder import RunFolder


def config(run: Path, *overrides: str) -> TrainConfig:
    return build_config(TrainConfig, {"run": str(run), "synthetic": "s", "real": "r"}, overrides)


def test_a_claimed_folder_holds_the_resolved_config(tmp_path: Path) -> None:
    RunFolder(str(tmp_path)).claim(config(tmp_path, "seed=5"))
    assert load_config(TrainConfig, tmp_path / "config.yaml") == config(tmp_path, "seed=5")


@pytest.mark.parametrize(
    "override", ["seed=1", "adversarial.steps=7", "encoder.training.steps=7", "real=other", "prediction_size=[8, 8]"]
)
def test_a_run_is_not_resumed_with_settings_that_change_its_result(tmp_path: Path, override: str) -> None:
    folder = RunFolder(str(tmp_path))
    folder.claim(config(tmp_path))
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        folder.claim(config(tmp_path, override))
    assert str(tmp_path) in str(caught.value)
    assert f"({override.partition('=')[0].partition('.')[0]})" in str(caught.value)
    assert (tmp_path / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("override", ["report_every=1", "checkpoint_every=1", "workers=2", "max_failures=0"])
def test_settings_of_where_and_how_often_may_change(tmp_path: Path, override: str) -> None:
    folder = RunFolder(str(tmp_path))
    folder.claim(config(tmp_path))
    folder.claim(config(tmp_path, override))
    assert load_config(TrainConfig, tmp_path / "config.yaml") == config(tmp_path, override)


def test_a_resumed_stage_drops_the_lines_of_steps_it_takes_again(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    MetricsLog(folder, "encoder", 0).report(4, {"loss": 1.0})
    first = MetricsLog(folder, "adversarial", 0)
    for step in (2, 4, 6):
        first.report(step, {"loss": float(step)})
    MetricsLog(folder, "adversarial", 2).report(4, {"loss": 40.0})
    assert [(line["stage"], line["step"], line["loss"]) for line in read_metrics(folder.metrics)] == [
        ("encoder", 4, 1.0),
        ("adversarial", 2, 2.0),
        ("adversarial", 4, 40.0),
    ]


def test_alarms_are_kept_and_those_of_steps_taken_again_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    early, late = (Alarm("params_at_bounds", step, 0.75, 0.5, "warn", "widen them") for step in (2, 6))
    first = MetricsLog(folder, "adversarial", 0)
    first.alarm(early)
    first.alarm(late)
    assert read_alarms(folder.alarms) == [early, late]
    MetricsLog(folder, "adversarial", 4).alarm(late)
    assert read_alarms(folder.alarms) == [early, late]
    assert read_alarms(RunFolder(str(tmp_path / "other")).alarms) == []


def test_a_run_without_metrics_has_none(tmp_path: Path) -> None:
    assert read_metrics(str(tmp_path / "metrics.jsonl")) == []
