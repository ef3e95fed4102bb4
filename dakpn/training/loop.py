"""The train loop: it counts steps, knows nothing of Ray, and is the same in process and under DDP."""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dakpn.errors import TrainingError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.state import TrainState

Batch = dict[str, Tensor]


class Reporter(Protocol):
    """Where metrics go: Ray Train in workflows, a list in tests."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Called by every rank at the same steps."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs beside the state.

    Attributes:
        steps: optimizer updates in all, counted from the very start of the run.
        report_every, checkpoint_every: in steps.
        seed, rank: the randomness of step k is a function of (seed, rank, k) alone.
        gradient_clip: largest norm of each optimizer's gradient; none by default.
    """

    steps: int
    report_every: int
    checkpoint_every: int
    seed: int = 0
    rank: int = 0
    gradient_clip: float | None = None


def run_steps(
    state: TrainState,
    module: nn.Module,
    batches: Iterator[Batch],
    settings: LoopSettings,
    reporter: Reporter,
    checkpoints: CheckpointFolder | None = None,
) -> None:
    """Train from `state.step` to `settings.steps`.

    Args:
        state: updated in place.
        module: `state.task`, or its DDP wrapper.
        batches: endless, starting at the batch of step `state.step`.
        settings: see there.
        reporter: gets the mean of each term since the last report.
        checkpoints: written by rank 0; None writes none.

    Raises:
        TrainingError: a loss is not finite.
    """
    module.train()
    meter = _Meter()
    while state.step < settings.steps:
        batch = meter.timed_next(batches)
        torch.manual_seed(step_seed(settings.seed, settings.rank, state.step))
        meter.add(_take_step(state, module, batch, settings.gradient_clip))
        checkpoint_due = state.step == settings.steps or state.step % settings.checkpoint_every == 0
        # A report comes before every checkpoint: it refuses a state that has diverged.
        if checkpoint_due or state.step % settings.report_every == 0:
            reporter.report(state.step, _checked(meter.read(), state.step))
        if checkpoints and settings.rank == 0 and checkpoint_due:
            checkpoints.save(state)


def step_seed(seed: int, rank: int, step: int) -> int:
    """A 63-bit seed for one step of one rank."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{rank}/{step}".encode()).digest()[:8], "little") >> 1


def _take_step(state: TrainState, module: nn.Module, batch: Batch, gradient_clip: float | None) -> dict[str, Tensor]:
    terms = module(batch)
    for optimizer in state.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    for optimizer in state.optimizers.values():
        if gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip)
        optimizer.step()
    for scheduler in state.schedulers.values():
        scheduler.step()
    if state.ema:
        state.ema.update()
    state.step += 1
    return {name: term.detach() for name, term in terms.items()}


def _checked(metrics: dict[str, float], step: int) -> dict[str, float]:
    broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    if broken:
        raise TrainingError(
            f"training diverged: {', '.join(broken)} not finite at step {step}; lower the learning rates, or resume "
            "from the last checkpoint with another seed"
        )
    return metrics


class _Meter:
    """Sums on the device; the only synchronisation is `read`."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._waited = 0.0
        self._started = time.perf_counter()

    def timed_next(self, batches: Iterator[Batch]) -> Batch:
        before = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - before
        return batch

    def add(self, terms: dict[str, Tensor]) -> None:
        self._count += 1
        for name, term in terms.items():
            self._sums[name] = self._sums[name] + term if name in self._sums else term

    def read(self) -> dict[str, float]:
        elapsed = time.perf_counter() - self._started
        metrics = {name: float(total) / self._count for name, total in self._sums.items()}
        metrics["seconds_per_step"] = elapsed / self._count
        metrics["data_wait_share"] = self._waited / elapsed
        self._restart()
        return metrics
