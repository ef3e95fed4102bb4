"""What rank 0 tells: metrics that follow the steps that count, alarms, and pictures when they are due."""

from pathlib import Path

import numpy as np

from dakpn import storage
from dakpn.images import codec
from dakpn.training.monitor import Alarm
from dakpn.training.reporting import MetricsLog, RunReporter, read_alarms, read_metrics
from dakpn.training.run_folder import RunFolder
from dakpn.training.tracking import Trackers

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


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


def test_samples_are_drawn_at_the_first_report_when_they_are_due(tmp_path: Path) -> None:
    folder, drawn = RunFolder(str(tmp_path)), []

    def draw() -> np.ndarray:
        drawn.append(step)
        return PICTURE

    reporter = RunReporter(folder, "adversarial", 3, Trackers([]), draw, samples_every=10)
    for step in range(6, 32, 3):
        reporter.report(step, {"loss": 0.0})
    assert drawn == [12, 21, 30]
    picture = codec.decode_image(storage.read_bytes(folder.samples(21)), "sample.png")
    assert np.array_equal(picture, PICTURE)
