"""Learning rates over the steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dakpn.config import ScheduleConfig


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
