"""A training with workers ends with the bytes of an undisturbed one, whatever of it is killed, and when."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.run_folder import RunFolder
from tests.processes import end, start, with_title
from tests.scenes import Scenes, tiny_training
from tests.trainings import newest_report, write_config
from workflows import train

EVERY = 10


def newest_checkpoint(run: Path) -> int:
    return max(CheckpointFolder(RunFolder(str(run)).checkpoints("adversarial")).complete_steps(), default=0)


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_ten_kills_at_random_moments_lose_at_most_one_interval_each(
    ray_here: str, scenes: Scenes, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """In turn the whole command with a Ray of its own, and one of its workers."""
    kills, steps = 10, 250
    rng = random.Random(4)  # noqa: S311
    run, log = tmp_path / "killed", tmp_path / "log"
    settings = ("workers=2", f"adversarial.steps={steps}", f"checkpoint_every={EVERY}", "max_failures=20")
    arguments = ["train", write_config(tmp_path / "killed.yaml", tiny_training(run, scenes, *settings))]
    process = start(arguments, log)
    try:
        for kill in range(kills):
            before, goal = newest_checkpoint(run), newest_report(run) + rng.randint(1, 20)
            deadline = time.monotonic() + 240
            while newest_report(run) < min(goal, steps - EVERY):
                assert time.monotonic() < deadline, f"kill {kill}: no progress\n{log.read_text()}"
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            time.sleep(rng.random() / 5)
            reported = newest_report(run)
            if kill % 2:
                os.kill(rng.choice(with_title(process.pid, "RayTrainWorker")), signal.SIGKILL)
            else:
                end(process)
                process = start(arguments, log)
            kept = newest_checkpoint(run)
            say(f"{kill + 1} of {kills}: {'worker' if kill % 2 else 'command'} killed at step {reported}, kept {kept}")
            assert kept >= before
            assert kept > reported - EVERY - 2, f"kill {kill} lost the steps {kept} to {reported}"
        assert process.wait(600) == 0, log.read_text()
    finally:
        end(process)
    train.main(tiny_training(tmp_path / "straight", scenes, *settings))
    for name in ("encoder", "weights"):
        files = [folder / name / "model.safetensors" for folder in (run, tmp_path / "straight")]
        assert files[0].read_bytes() == files[1].read_bytes()
