"""Progress of a training, wherever its workers are: read from the metrics in the run's folder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dakpn.config import TrainConfig
from dakpn.errors import StorageError
from dakpn.progress import ShowProgress, progress
from dakpn.training.metrics_log import read_metrics
from dakpn.training.run_folder import RunFolder

_LOOK_EVERY_S = 1.0


@contextmanager
def training_progress(config: TrainConfig) -> Iterator[None]:
    """Show steps done, images a second and the share of waiting for data while the block runs."""
    done = threading.Event()
    with progress("training", "steps") as show:
        thread = threading.Thread(target=_follow, args=(config, show, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _follow(config: TrainConfig, show: ShowProgress, done: threading.Event) -> None:
    encoder_steps = config.encoder.training.steps if config.encoder.weights is None else 0
    total = encoder_steps + config.adversarial.steps
    while not done.wait(_LOOK_EVERY_S):
        try:
            lines = read_metrics(RunFolder(config.run).metrics)
        except StorageError:
            continue  # whoever trains will say so
        if not lines:
            continue
        last = lines[-1]
        before = encoder_steps if last["stage"] == "adversarial" else 0
        waiting = f"{last['data_wait_share']:.0%} waiting for data"
        show(before + last["step"], total, f"{last['stage']}: {last['images_per_second']:.3g} images/s, {waiting}")
