"""Both players get their own optimizer, rate and schedule, and every param that learns is in exactly one."""

import pytest

from dakpn.config import AdversarialConfig, ScheduleConfig
from dakpn.training.players import adversarial_state
from tests.unit.training.tiny import tiny_task


@pytest.mark.parametrize("shared", [False, True])
def test_every_trainable_param_has_one_player(shared: bool) -> None:
    task = tiny_task(shared=shared)
    state = adversarial_state(task, AdversarialConfig())
    held = [id(p) for optimizer in state.optimizers.values() for g in optimizer.param_groups for p in g["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in task.parameters() if p.requires_grad}


def test_rates_and_schedules_go_to_their_player() -> None:
    config = AdversarialConfig(
        steps=10,
        predictor_learning_rate=0.1,
        discriminator_learning_rate=0.2,
        predictor_schedule=ScheduleConfig(warm_up_steps=3),
        discriminator_schedule=ScheduleConfig(decay="linear", decay_from=0.0),
        betas=(0.3, 0.9),
    )
    state = adversarial_state(tiny_task(), config)
    rates = []
    for _ in range(5):
        rates.append([state.optimizers[p].param_groups[0]["lr"] for p in ("predictor", "discriminator")])
        for player, optimizer in state.optimizers.items():
            optimizer.step()
            state.schedulers[player].step()
    assert [pair[0] for pair in rates] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert [pair[1] for pair in rates] == pytest.approx([0.2, 0.18, 0.16, 0.14, 0.12])
    assert all(optimizer.param_groups[0]["betas"] == (0.3, 0.9) for optimizer in state.optimizers.values())
