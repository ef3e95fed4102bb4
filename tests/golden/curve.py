"""The golden loss curve: 50 adversarial steps of tiny networks, and how to renew it.

`python -m tests.golden.curve` writes it anew; do so only when training is meant to change, and say why in the commit.
"""

import json
from pathlib import Path

import torch

from dakpn.config import AdversarialConfig, ScheduleConfig
from dakpn.training.adversarial import adversarial_state
from dakpn.training.loop import LoopSettings, run_steps
from tests.unit.training.tiny import Reports, adversarial_batch, batches_from, tiny_task

CURVE = Path(__file__).with_name("training_curve.json")
STEPS, EVERY = 50, 5
NAMES = ("loss", "identity", "discriminator/patch", "discriminator/whole", "predictor/patch", "gradient_norm/predictor")


def training_curve() -> dict[str, list[float]]:
    """Some means of every five steps; a function of the code alone."""
    torch.manual_seed(0)
    config = AdversarialConfig(
        steps=STEPS, predictor_schedule=ScheduleConfig(warm_up_steps=5, decay="cosine"), r1_weight=0.1, r1_every=4
    )
    task = tiny_task(r1_weight=config.r1_weight, r1_every=config.r1_every)
    state, reports = adversarial_state(task, config), Reports()
    settings = LoopSettings(STEPS, EVERY, STEPS, gradient_clip=1.0)
    run_steps(state, task, batches_from(adversarial_batch), settings, reports)
    return {name: [metrics[name] for _, metrics in reports.lines] for name in NAMES}


if __name__ == "__main__":
    CURVE.write_text(json.dumps(training_curve(), indent=1) + "\n")
