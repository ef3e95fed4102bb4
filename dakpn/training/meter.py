"""Means of a step's terms from report to report, over all workers."""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from dakpn.errors import TrainingError
from dakpn.training.distributed import world_size


class Meter:
    """Sums on the device; the only synchronisation is `read`."""

    def __init__(self) -> None:
        self._restart()

    def timed_next(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The next batch; the time that it takes to come counts as waiting for data."""
        before = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - before
        self._images += next((len(tensor) for tensor in batch.values() if tensor.ndim), 0)
        return batch

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in the terms of one step; a term may be missing in some steps."""
        self._steps += 1
        for name, term in terms.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + term, count + 1)

    def read(self, step: int) -> dict[str, float]:
        """Means since the last reading; every rank calls it at the same steps and gets the same.

        Raises:
            TrainingError: a mean is not finite.
        """
        elapsed = time.perf_counter() - self._started
        metrics = {name: float(total) / count for name, (total, count) in self._sums.items()}
        metrics["seconds_per_step"] = elapsed / self._steps
        metrics["images_per_second"] = self._images / elapsed
        metrics["data_wait_share"] = self._waited / elapsed
        metrics = _mean_over_ranks(metrics)
        self._restart()
        _require_finite(metrics, step)
        return metrics

    def _restart(self) -> None:
        self._sums: dict[str, tuple[Tensor | float, int]] = {}
        self._steps = self._images = 0
        self._waited = 0.0
        self._started = time.perf_counter()


def _mean_over_ranks(metrics: dict[str, float]) -> dict[str, float]:
    """Images a second are summed: they are those of the whole run."""
    ranks = world_size()
    if ranks == 1:
        return metrics
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    values = torch.tensor(list(metrics.values()), dtype=torch.float64, device=device)
    torch.distributed.all_reduce(values)
    means = dict(zip(metrics, (values / ranks).tolist(), strict=True))
    return {**means, "images_per_second": means["images_per_second"] * ranks}


def _require_finite(metrics: dict[str, float], step: int) -> None:
    broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    if broken:
        raise TrainingError(
            f"training diverged: {', '.join(broken)} not finite at step {step}; lower the learning rates, or resume "
            "from the last checkpoint with another seed"
        )
