"""`dakpn tune` as a user runs it: killed, interrupted, and refused."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dakpn.tuning.records import SweepFolder
from tests.command import assert_failed, dakpn
from tests.processes import kill_midway
from tests.scenes import Scenes
from tests.sweeps import tiny_sweep
from tests.trainings import write_config

pytestmark = pytest.mark.timeout(900)


def scores_of(output: Path) -> list[int]:
    return [len(record.scores) for record in SweepFolder(str(output)).records()]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_runs_no_finished_trial_again(ray_here: str, scenes: Scenes, tmp_path: Path) -> None:
    output, log = tmp_path / "sweep", tmp_path / "log"
    arguments = ["tune", write_config(tmp_path / "sweep.yaml", tiny_sweep(output, scenes, trials=3))]
    midway = lambda: scores_of(output)[:1] == [2] and len(scores_of(output)) > 1  # noqa: E731
    kill_midway(arguments, midway, log, timeout=300, RAY_ADDRESS=ray_here)
    first = SweepFolder(str(output)).records()[0]
    made = Path(first.scores[-1].weights, "model.safetensors").stat().st_mtime_ns
    done = dakpn(*arguments)
    assert done.returncode == 0, done.stderr
    assert scores_of(output) == [2, 2, 2]
    assert SweepFolder(str(output)).records()[0] == first
    assert Path(first.scores[-1].weights, "model.safetensors").stat().st_mtime_ns == made
    assert f"config: {output}/best.yaml" in done.stdout
    assert "rank correlation of colors with mIoU over 3 trials" in done.stdout


@pytest.mark.parametrize(
    ("by", "code"),
    [pytest.param("SIGINT", 130, marks=pytest.mark.soak), pytest.param("SIGTERM", 143, marks=pytest.mark.slow)],
)
def test_interrupted_says_how_to_go_on(scenes: Scenes, tmp_path: Path, by: str, code: int) -> None:
    output, log = tmp_path / "sweep", tmp_path / "log"
    arguments = ["tune", write_config(tmp_path / "sweep.yaml", tiny_sweep(output, scenes))]
    number = signal.Signals[by]
    ended = kill_midway(
        arguments, lambda: sum(scores_of(output)) >= 1, log, 300, number, alone=number == signal.SIGTERM
    )
    assert ended == code, log.read_text()
    assert "Traceback" not in log.read_text()
    assert log.read_text().splitlines()[-1].endswith("the same command goes on where this one stopped")


def refusals() -> Sequence[tuple[dict[str, Any], str]]:
    return [
        ({"space": {"adversarial.predictor_lr": {"uniform": [0, 1]}}}, "valid here: batch_size_per_worker"),
        ({"objective": {"kind": "miou"}}, "set it, or take a proxy"),
        ({"objective": {"kind": "miou", "validation": "nowhere"}}, "nowhere"),
    ]


@pytest.mark.parametrize(("section", "words"), refusals())
def test_the_command_refuses_before_any_work(scenes: Scenes, tmp_path: Path, section: dict, words: str) -> None:
    values = json.loads(tiny_sweep(tmp_path / "out", scenes).model_dump_json())
    values["tune"] |= section
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(values))
    assert_failed(dakpn("tune", path), 2, words)
    assert not (tmp_path / "out").exists()
