"""The train loop: it counts steps, knows nothing of Ray, and is the same in process and under DDP."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dakpn.errors import TrainingError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.data import Batch
from dakpn.training.monitor import Alarm, Meter
from dakpn.training.state import TrainState

B = TypeVar("B", bound=Batch)


class Step(NamedTuple):
    """What a task is told of a step, beside its batch.

    Attributes:
        number: optimizer updates taken before it.
        reported: whether a report follows it: terms that are only looked at need no computing in other steps.
    """

    number: int
    reported: bool = True


FIRST_STEP = Step(0)


class Reporter(Protocol):
    """Where metrics go: files in a run's folder, or a list in tests."""

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Called by every rank at the same steps, with the same metrics."""
        ...

    def alarm(self, alarm: Alarm) -> None:
        """Called by every rank after the report at which an alarm rang."""
        ...


class TerminationNotice(Protocol):
    """Word that this machine or process will soon be gone: workflows hear it from Ray and from signals."""

    def checkpoint_wanted(self, step: int) -> bool:
        """Whether a checkpoint is wanted now.

        Every rank asks after every step, and a few times a second while it waits for data.
        """
        ...

    def checkpoint_written(self, step: int) -> None:
        """Called by rank 0 when the checkpoint of `step` is written; 0 before the first step of a stage."""
        ...


class NoTerminationNotice:
    """The notice of a training that nothing interrupts."""

    def checkpoint_wanted(self, step: int) -> bool:
        """Never."""
        return False

    def checkpoint_written(self, step: int) -> None:
        """Do nothing: no checkpoint is ever wanted."""


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


class Saver:
    """Writes the checkpoints of a training: when they are due, and at once upon notice.

    Args:
        state: to be saved; between two steps whenever this is asked.
        checkpoints: where to; None writes none.
        notice: Notice of the end of this machine or process.
        rank: 0 alone writes.
    """

    def __init__(
        self,
        state: TrainState,
        checkpoints: CheckpointFolder | None = None,
        notice: TerminationNotice | None = None,
        rank: int = 0,
    ) -> None:
        self._state, self._notice = state, notice or NoTerminationNotice()
        self._checkpoints = checkpoints if rank == 0 else None
        self._saved_at: int | None = None

    def save(self) -> None:
        """Write a checkpoint of the state as it is, unless that was done."""
        if self._checkpoints is not None and self._saved_at != self._state.step:
            self._checkpoints.save(self._state)
            self._saved_at = self._state.step

    def heed_notice(self) -> None:
        """Write a checkpoint if one is wanted before the machine goes, and say so.

        Raises:
            TrainingError: the state has diverged; it is not kept.
            Also what `checkpoint_written` raises, which may end the training.
        """
        step = self._state.step
        if self._notice.checkpoint_wanted(step) and self._checkpoints is not None:
            if not self._state.is_finite():
                raise TrainingError(
                    f"training diverged: params not finite at step {step}, when a checkpoint was asked for; lower the "
                    "learning rates, or resume from the last checkpoint with another seed"
                )
            self.save()
            self._notice.checkpoint_written(step)


def run_steps(
    state: TrainState,
    module: nn.Module,
    batches: Iterator[B],
    settings: LoopSettings,
    reporter: Reporter,
    saver: Saver | None = None,
) -> None:
    """Train from `state.step` to `settings.steps`.

    Args:
        state: updated in place.
        module: `state.task`, or its DDP wrapper; its forward takes a batch and a `Step`.
        batches: endless, on the device, starting at the batch of step `state.step`.
        settings: What the loop needs beside the state.
        reporter: gets the mean of each term since the last report, over all ranks.
        saver: writes checkpoints; None writes none.

    Raises:
        TrainingError: a loss or a gradient is not finite, or an alarm says to stop.
    """
    module.train()
    meter, saver = Meter(), saver or Saver(state)
    while state.step < settings.steps:
        batch = meter.timed_next(batches)
        done = state.step + 1
        checkpoint_due = done == settings.steps or done % settings.checkpoint_every == 0
        # A report comes before every checkpoint: it refuses a state that has diverged.
        reported = checkpoint_due or done % settings.report_every == 0
        torch.manual_seed(step_seed(settings.seed, settings.rank, state.step))
        meter.add(take_step(state, module, batch, Step(state.step, reported), settings.gradient_clip))
        if reported:
            _report(state, meter.read(state.step), reporter)
        if checkpoint_due:
            saver.save()
        saver.heed_notice()


def step_seed(seed: int, rank: int, step: int) -> int:
    """A 63-bit seed for one step of one rank."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{rank}/{step}".encode()).digest()[:8], "little") >> 1


def _report(state: TrainState, metrics: dict[str, float], reporter: Reporter) -> None:
    reporter.report(state.step, metrics)
    if state.health is None:
        return
    for alarm in state.health.watch(state.step, metrics):
        reporter.alarm(alarm)
        network = state.health.network_of(alarm)
        if alarm.action == "stop":
            raise TrainingError(f"training stopped: {alarm}; or let it go on with health.{alarm.name}.action=warn")
        if alarm.action == "lower_learning_rate" and network:
            state.lower_learning_rate(network, state.health.config.lowered_by)


def take_step(
    state: TrainState, module: nn.Module, batch: Batch, step: Step, gradient_clip: float | None
) -> dict[str, Tensor]:
    """Take one step: forward, backward, and the update of each network.

    Args:
        state: updated in place.
        module: `state.task`, or its DDP wrapper.
        batch: on the device.
        step: its number, and whether a report follows.
        gradient_clip: see `LoopSettings`.

    Returns:
        Scalars for the log, on the device: the task's terms, and norms of the gradients where they are known.
    """
    terms = module(batch, step)
    for optimizer in state.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    norms = {}
    for network, optimizer in state.optimizers.items():
        if gradient_clip is not None or step.reported:
            norms[f"gradient_norm/{network}"] = _clip_gradient(optimizer, gradient_clip)
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
    if largest is None:
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return torch.nn.utils.clip_grad_norm_(parameters, largest)
