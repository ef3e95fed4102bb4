"""The train state: everything that resume needs, in one place."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dakpn.training.monitor import HealthMonitor


class ExponentialMovingAverage:
    """Smoothed copies of a module's trainable parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        self._parameters: list[Tensor] = list(trained.values())
        self.shadow = {name: parameter.detach().clone() for name, parameter in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the current parameters; call after each optimizer step."""
        averages: list[Tensor] = list(self.shadow.values())
        torch._foreach_lerp_(averages, self._parameters, 1 - self._decay)  # pyright: ignore

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite a module's trainable parameters with their averages."""
        parameters = dict(module.named_parameters())
        for name, average in self.shadow.items():
            parameters[name].copy_(average)


@dataclass
class TrainState:
    """A task with its optimizers and the number of steps taken.

    The randomness of step k is seeded by (seed, rank, k) and the data order by (seed, epoch), so that neither needs a
    place here.

    Attributes:
        task: the module whose forward returns `loss`; never the DDP wrapper.
        optimizers: Those of the predictor and the discriminators, by name.
        schedulers: stepped once a step.
        health: watches the reports; None watches nothing.
        ema: smoothed parameters of what will be saved as weights.
        step: optimizer updates done.
    """

    task: nn.Module
    optimizers: dict[str, Optimizer]
    schedulers: dict[str, LRScheduler]
    ema: ExponentialMovingAverage | None = None
    health: HealthMonitor | None = None
    step: int = 0

    def is_finite(self) -> bool:
        """Whether all params are: a checkpoint of others would be of no use."""
        return all(bool(p.isfinite().all()) for p in self.task.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts and lists of tensors and plain scalars."""
        return {
            "step": self.step,
            "task": self.task.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "schedulers": {name: _plain(scheduler.state_dict()) for name, scheduler in self.schedulers.items()},
            "ema": dict(self.ema.shadow) if self.ema else {},
            "health": self.health.state_dict() if self.health else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore from `state_dict`."""
        self.step = state["step"]
        self.task.load_state_dict(state["task"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            _lay_out_as_params(optimizer)
        for name, scheduler in self.schedulers.items():
            scheduler.load_state_dict(state["schedulers"][name])
        if self.ema:
            for name, average in self.ema.shadow.items():
                average.copy_(state["ema"][name])
        if self.health:
            self.health.load_state_dict(state["health"])

    def lower_learning_rate(self, network: str, factor: float) -> None:
        """Multiply a network's learning rate, now and in all steps to come."""
        for group in self.optimizers[network].param_groups:
            group["lr"] *= factor
        scheduler = self.schedulers[network]
        scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]


def _lay_out_as_params(optimizer: Optimizer) -> None:
    """Checkpoints are contiguous; a fused optimizer goes through a parameter and its moments in the order of memory."""
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    kinds = (bool, int, float, str, list, Tensor, type(None))
    return {name: value for name, value in state.items() if isinstance(value, kinds)}
