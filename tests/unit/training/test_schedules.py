"""Learning rates over the steps."""

import pytest
import torch

from dakpn.config import ScheduleConfig
from dakpn.training.schedules import build_schedule, learning_rate_factor


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
