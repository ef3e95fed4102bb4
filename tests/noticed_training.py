"""A training without networks, for tests of `cluster.signals`: it asks its notice as the train loop promises to.

As a program it is a driver: `python -m tests.noticed_training FOLDER WORKERS SECONDS STALLED_AFTER`. It leaves in
FOLDER

- `step-N`: the checkpoint of step N;
- `at-RANK`: the last step of each rank;
- `begun-N`: the node of rank 0 when the workers began, or began again, after step N;
"""

import logging
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from cluster.session import interruptible, ray_session
from cluster.signals import TrainNotice, termination_notice
from dakpn.errors import TerminatedError

_ASKED_EVERY_S = 0.2


def fit(folder: Path, workers: int | tuple[int, int], step_s: float, stalled_after: int | None = None) -> None:
    """Train until told to end; Ray must be connected.

    Args:
        folder: see above.
        workers: as in `TrainConfig.workers`.
        step_s: seconds that a step takes, in which nobody asks.
        stalled_after: step after which rank 0 waits for data for ever.
    """
    most = max(workers) if isinstance(workers, tuple) else workers
    with interruptible(), termination_notice(most) as notice:
        DataParallelTrainer(
            _train,
            train_loop_config={"folder": folder, "notice": notice, "step_s": step_s, "stalled_after": stalled_after},
            scaling_config=ScalingConfig(
                num_workers=workers,  # pyright: ignore[reportArgumentType] - a range is one too
                resources_per_worker={"CPU": 1} if most else None,
            ),
            run_config=RunConfig(
                name="ray_train", storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=0)
            ),
        ).fit()


def checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def begun(folder: Path) -> dict[int, str]:
    """Steps after which the workers began, and the node of rank 0 then."""
    return {int(path.name.removeprefix("begun-")): path.read_text() for path in folder.glob("begun-*")}


def step_of(folder: Path, rank: int = 0) -> int:
    """The last step that a rank has taken; 0 before the first."""
    path = folder / f"at-{rank}"
    text = path.read_text() if path.exists() else ""
    return int(text) if text else 0


def _train(config: dict[str, Any]) -> None:
    folder, notice, stalled_after = config["folder"], config["notice"], config["stalled_after"]
    rank = ray.train.get_context().get_world_rank()
    start = max(checkpoints(folder), default=0)
    if rank == 0:
        (folder / f"begun-{start}").write_text(ray.get_runtime_context().get_node_id())
    for step in count(start + 1):
        time.sleep(config["step_s"])
        (folder / f"at-{rank}").write_text(str(step))
        _ask(folder, notice, rank, step)
        while rank == 0 and stalled_after is not None and step >= stalled_after:
            time.sleep(_ASKED_EVERY_S)
            _ask(folder, notice, rank, step)


def _ask(folder: Path, notice: TrainNotice, rank: int, step: int) -> None:
    if notice.checkpoint_wanted(step):
        assert rank == 0
        (folder / f"step-{step}").touch()
        notice.checkpoint_written(step)


def main() -> None:
    """Run the driver."""
    folder, workers, step_s, stalled_after = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    low, _, high = workers.partition("-")
    with ray_session(1):
        try:
            fit(
                Path(folder),
                (int(low), int(high)) if high else int(low),
                float(step_s),
                int(stalled_after) if stalled_after else None,
            )
        except TerminatedError as error:
            logging.info("%s", error)
            sys.exit(error.exit_code)


if __name__ == "__main__":
    # Functions of `__main__` would travel by value; of a module, workers import them.
    from tests import noticed_training

    noticed_training.main()
