"""The two players of adversarial training: who learns what, how fast."""

import math

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dakpn.config import AdversarialConfig, HealthConfig, ScheduleConfig
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.monitor import HealthMonitor
from dakpn.training.state import ExponentialMovingAverage, TrainState


def adversarial_state(
    task: AdversarialTask, config: AdversarialConfig, health: HealthConfig | None = None
) -> TrainState:
    """A fresh train state: Adam and a schedule for each player, alarms; the predictor's head is smoothed."""
    head = task.predictor.head.parameters()
    # With a shared discriminator both names lead to the same parameters: a dict keeps each once.
    judges = {p: None for d in (task.patch_discriminator, task.whole_discriminator) for p in d.parameters()}
    optimizers: dict[str, Optimizer] = {
        "predictor": torch.optim.Adam(head, config.predictor_learning_rate, betas=config.betas, fused=True),
        "discriminator": torch.optim.Adam(judges, config.discriminator_learning_rate, betas=config.betas, fused=True),
    }
    schedules = {"predictor": config.predictor_schedule, "discriminator": config.discriminator_schedule}
    schedulers: dict[str, LRScheduler] = {
        name: build_schedule(schedules[name], optimizers[name], config.steps) for name in optimizers
    }
    average = ExponentialMovingAverage(task.predictor, config.ema_decay)
    return TrainState(task, optimizers, schedulers, average, HealthMonitor(health) if health else None)


def build_schedule(config: ScheduleConfig, optimizer: Optimizer, steps: int) -> LambdaLR:
    """A scheduler to be stepped once a step, for a run of `steps`."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(config, step, steps))


def learning_rate_factor(config: ScheduleConfig, step: int, steps: int) -> float:
    """What the learning rate is multiplied with in step `step` (from 0) of `steps`, 0..1."""
    warm_up = min(1.0, (step + 1) / (config.warm_up_steps + 1))
    begin = config.decay_from * steps
    done = min(1.0, max(0.0, (step - begin) / max(1.0, steps - begin)))
    match config.decay:
        case "none":
            left = 1.0
        case "linear":
            left = 1.0 - done
        case "cosine":
            left = (1.0 + math.cos(math.pi * done)) / 2
    return warm_up * (config.final_factor + (1.0 - config.final_factor) * left)
