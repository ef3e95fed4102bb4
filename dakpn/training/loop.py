"""The train loop: it counts steps, knows nothing of Ray, and is the same in process and under DDP."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dakpn.errors import TrainingError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.health import Alarm
from dakpn.training.meter import Meter
from dakpn.training.state import TrainState

Batch = dict[str, Tensor]


class Reporter(Protocol):
    """Where metrics go: files in a run's folder in workflows, a list in tests."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Called by every rank at the same steps, with the same metrics."""
        ...

    def alarm(self, alarm: Alarm) -> None:
        """Called by every rank after the report at which an alarm rang."""
        ...


class Notice(Protocol):
    """Word that this machine or process will soon be gone: workflows hear it from Ray and from signals."""

    def given(self, step: int) -> bool:
        """Whether a checkpoint is wanted now; asked by every rank after every step."""
        ...

    def answer(self, step: int) -> None:
        """Called by rank 0 when the checkpoint of `step` is written."""
        ...


class NoNotice:
    """Nothing will interrupt."""

    def given(self, step: int) -> bool:
        """Never."""
        return False

    def answer(self, step: int) -> None:
        """Nobody asked."""


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs beside the state.

    Attributes:
        steps: optimizer updates in all, counted from the very start of the run.
        report_every, checkpoint_every: in steps.
        seed, rank: what a network draws in step k (dropout, augmentation) is a function of (seed, rank, k) alone.
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
    notice: Notice | None = None,
) -> None:
    """Train from `state.step` to `settings.steps`.

    Args:
        state: updated in place.
        module: `state.task`, or its DDP wrapper.
        batches: endless, starting at the batch of step `state.step`.
        settings: see there.
        reporter: gets the mean of each term since the last report, over all ranks.
        checkpoints: written by rank 0; None writes none.
        notice: when given, a checkpoint is written at once.

    Raises:
        TrainingError: a loss or a gradient is not finite, or an alarm says to stop.
    """
    module.train()
    meter = Meter()
    notice = notice or NoNotice()
    while state.step < settings.steps:
        batch = meter.timed_next(batches)
        torch.manual_seed(step_seed(settings.seed, settings.rank, state.step))
        meter.add(_take_step(state, module, batch, settings.gradient_clip))
        checkpoint_due = state.step == settings.steps or state.step % settings.checkpoint_every == 0
        # A report comes before every checkpoint: it refuses a state that has diverged.
        if checkpoint_due or state.step % settings.report_every == 0:
            _report(state, meter.read(state.step), reporter)
        noticed = notice.given(state.step)
        if checkpoints and settings.rank == 0:
            if checkpoint_due or (noticed and state.is_finite()):
                checkpoints.save(state)
            if noticed:
                notice.answer(state.step)


def step_seed(seed: int, rank: int, step: int) -> int:
    """A 63-bit seed for one step of one rank."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{rank}/{step}".encode()).digest()[:8], "little") >> 1


def _report(state: TrainState, metrics: dict[str, float], reporter: Reporter) -> None:
    reporter.report(state.step, metrics)
    if state.health is None:
        return
    for alarm in state.health.watch(state.step, metrics):
        reporter.alarm(alarm)
        player = state.health.player_of(alarm)
        if alarm.action == "stop":
            raise TrainingError(f"training stopped: {alarm}; or let it go on with health.{alarm.name}.action=warn")
        if alarm.action == "lower_learning_rate" and player:
            state.lower_learning_rate(player, state.health.config.lowered_by)


def _take_step(state: TrainState, module: nn.Module, batch: Batch, gradient_clip: float | None) -> dict[str, Tensor]:
    terms = module({**batch, "step": torch.tensor(state.step)})
    for optimizer in state.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    norms = {}
    for player, optimizer in state.optimizers.items():
        norms[f"gradient_norm/{player}"] = _clip_gradient(optimizer, gradient_clip)
        optimizer.step()
    for scheduler in state.schedulers.values():
        scheduler.step()
    if state.ema:
        state.ema.update()
    state.step += 1
    return {name: term.detach() for name, term in terms.items()} | norms


def _clip_gradient(optimizer: Optimizer, largest: float | None) -> Tensor:
    """Clip the norm of all params' gradient and return what it was before."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return torch.nn.utils.clip_grad_norm_(parameters, float("inf") if largest is None else largest)
