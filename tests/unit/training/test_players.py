"""Both players get their own optimizer, rate and schedule, and every param that learns is in exactly one."""

import pytest
import torch

from dakpn.config import AdversarialConfig, ScheduleConfig
from dakpn.training.players import adversarial_state, build_schedule, learning_rate_factor
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


def factors(steps: int, **values: object) -> list[float]:
    config = ScheduleConfig.model_validate(values)
    return [learning_rate_factor(config, step, steps) for step in range(steps)]


def test_by_default_the_rate_stays() -> None:
    assert factors(10) == [1.0] * 10


def test_warm_up_rises_linearly_and_never_starts_at_zero() -> None:
    assert factors(6, warm_up_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_begins_and_ends_where_it_should(decay: str) -> None:
    found = factors(100, decay=decay, decay_from=0.4, final_factor=0.1)
    assert found[:41] == [1.0] * 41
    assert found[40:] == sorted(found[40:], reverse=True)
    assert found[70] == pytest.approx(0.55)  # half way down
    assert 0.1 < found[99] < 0.12
    config = ScheduleConfig.model_validate({"decay": decay, "decay_from": 0.4, "final_factor": 0.1})
    assert learning_rate_factor(config, 1000, 100) == pytest.approx(0.1)


def test_decay_that_begins_at_the_end_never_happens() -> None:
    assert factors(5, decay="linear", decay_from=1.0) == [1.0] * 5


def test_the_optimizer_gets_the_rate_of_each_step() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = build_schedule(ScheduleConfig(warm_up_steps=1, decay="linear", decay_from=0.5), optimizer, 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.25])
