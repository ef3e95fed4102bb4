"""A run folder belongs to one set of settings."""

from pathlib import Path

import pytest

from dakpn.config import TrainConfig
from dakpn.config_file import build_config, load_config
from dakpn.errors import ConfigError
from dakpn.training.run_folder import RunFolder


def config(run: Path, *overrides: str) -> TrainConfig:
    return build_config(TrainConfig, {"run": str(run), "synthetic": "s", "real": "r"}, overrides)


def test_a_claimed_folder_holds_the_resolved_config(tmp_path: Path) -> None:
    RunFolder(str(tmp_path)).begin(config(tmp_path, "seed=5"))
    assert load_config(TrainConfig, tmp_path / "config.yaml") == config(tmp_path, "seed=5")


@pytest.mark.parametrize(
    "override", ["seed=1", "adversarial.steps=7", "encoder.training.steps=7", "real=other", "prediction_size=[8, 8]"]
)
def test_a_run_is_not_resumed_with_settings_that_change_its_result(tmp_path: Path, override: str) -> None:
    folder = RunFolder(str(tmp_path))
    folder.begin(config(tmp_path))
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        folder.begin(config(tmp_path, override))
    assert str(tmp_path) in str(caught.value)
    assert f"({override.partition('=')[0].partition('.')[0]})" in str(caught.value)
    assert (tmp_path / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("override", ["report_every=1", "checkpoint_every=1", "workers=2", "max_failures=0"])
def test_settings_of_where_and_how_often_may_change(tmp_path: Path, override: str) -> None:
    folder = RunFolder(str(tmp_path))
    folder.begin(config(tmp_path))
    folder.begin(config(tmp_path, override))
    assert load_config(TrainConfig, tmp_path / "config.yaml") == config(tmp_path, override)
