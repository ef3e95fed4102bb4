"""The two players of adversarial training: who learns what, how fast."""

import torch
from torch.optim.lr_scheduler import LRScheduler

from dakpn.config import AdversarialConfig, HealthConfig
from dakpn.training.adversarial import AdversarialTask
from dakpn.training.health import HealthMonitor
from dakpn.training.schedules import build_schedule
from dakpn.training.state import ExponentialMovingAverage, TrainState


def adversarial_state(
    task: AdversarialTask, config: AdversarialConfig, health: HealthConfig | None = None
) -> TrainState:
    """A fresh train state: Adam and a schedule for each player, alarms; the predictor's head is smoothed."""
    head = task.predictor.head.parameters()
    # With a shared discriminator both names lead to the same parameters: a dict keeps each once.
    judges = {p: None for d in (task.patch_discriminator, task.whole_discriminator) for p in d.parameters()}
    optimizers: dict[str, torch.optim.Optimizer] = {
        "predictor": torch.optim.Adam(head, config.predictor_learning_rate, betas=config.betas),
        "discriminator": torch.optim.Adam(judges, config.discriminator_learning_rate, betas=config.betas),
    }
    schedules = {"predictor": config.predictor_schedule, "discriminator": config.discriminator_schedule}
    schedulers: dict[str, LRScheduler] = {
        name: build_schedule(schedules[name], optimizers[name], config.steps) for name in optimizers
    }
    average = ExponentialMovingAverage(task.predictor, config.ema_decay)
    return TrainState(task, optimizers, schedulers, average, HealthMonitor(health) if health else None)
