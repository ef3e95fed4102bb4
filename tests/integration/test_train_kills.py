"""Training under fire: workers and driver are killed at random moments, again and again."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from dakpn.config import TrainConfig
from dakpn.config_file import to_yaml
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.metrics_log import read_metrics
from dakpn.training.run_folder import RunFolder
from tests.command import dakpn
from tests.processes import descendants, end, start
from tests.scenes import Scenes, tiny_training

pytestmark = pytest.mark.slow

KILLS, STEPS, EVERY = 10, 250, 10


def write_config(path: Path, config: TrainConfig) -> Path:
    path.write_text(to_yaml(config))
    return path


def newest_checkpoint(run: Path) -> int:
    return max(CheckpointFolder(RunFolder(str(run)).checkpoints("adversarial")).complete_steps(), default=0)


def newest_report(run: Path) -> int:
    lines = read_metrics(RunFolder(str(run)).metrics)
    return max((line["step"] for line in lines if line["stage"] == "adversarial"), default=0)


def train_workers(driver: int) -> list[int]:
    titles = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(driver)}
    return [pid for pid, title in titles.items() if b"RayTrainWorker" in title]


@pytest.mark.timeout(2400)
def test_ten_kills_at_random_moments_lose_at_most_one_interval_each(scenes: Scenes, tmp_path: Path) -> None:
    rng = random.Random(4)  # noqa: S311
    run, log = tmp_path / "killed", tmp_path / "log"
    shared = [f"adversarial.steps={STEPS}", f"checkpoint_every={EVERY}", "workers=2", "max_failures=20"]
    arguments = ["train", write_config(tmp_path / "killed.yaml", tiny_training(run, scenes, *shared))]
    process = start(arguments, log)
    try:
        for kill in range(KILLS):
            before, goal = newest_checkpoint(run), newest_report(run) + rng.randint(1, 20)
            deadline = time.monotonic() + 240
            while newest_report(run) < min(goal, STEPS - EVERY):
                assert time.monotonic() < deadline, f"kill {kill}: no progress\n{log.read_text()}"
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            time.sleep(rng.random() / 5)
            reported = newest_report(run)
            if kill % 2:
                os.kill(rng.choice(train_workers(process.pid)), signal.SIGKILL)
            else:
                end(process)
                process = start(arguments, log)
            kept = newest_checkpoint(run)
            assert kept >= before
            assert kept > reported - EVERY - 2, f"kill {kill} lost the steps {kept} to {reported}"
        assert process.wait(600) == 0, log.read_text()
    finally:
        end(process)
    straight = tmp_path / "straight"
    config = write_config(tmp_path / "straight.yaml", tiny_training(straight, scenes, *shared))
    assert dakpn("train", config, timeout=900).returncode == 0
    for name in ("encoder", "weights"):
        files = [folder / name / "model.safetensors" for folder in (run, straight)]
        assert files[0].read_bytes() == files[1].read_bytes()
