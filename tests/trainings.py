"""Trainings in processes of their own: their config as a file, and how far they are."""

from pathlib import Path

from dakpn.config.base import Config
from dakpn.config_file import to_yaml
from dakpn.training.reporting import read_metrics
from dakpn.training.run_folder import RunFolder


def write_config(path: Path, config: Config) -> Path:
    path.write_text(to_yaml(config))
    return path


def newest_report(run: Path) -> int:
    """The last step of the predictor's training that the run's metrics tell of; 0 if there is none."""
    lines = read_metrics(RunFolder(str(run)).metrics)
    return max((line["step"] for line in lines if line["stage"] == "adversarial"), default=0)
