"""A run that goes on from another's checkpoint: the same weights, other learning rates."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dakpn.config import ScheduleConfig
from dakpn.errors import TrainingError
from dakpn.training.adversarial import build_schedule
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.fork import fork_checkpoint
from dakpn.training.run_folder import RunFolder
from dakpn.training.state import TrainState


def state_of(seed: int, rate: float) -> TrainState:
    torch.manual_seed(seed)
    task = nn.ModuleDict({"predictor": nn.Linear(2, 2), "discriminator": nn.Linear(2, 2)})
    optimizers = {name: torch.optim.Adam(task[name].parameters(), rate) for name in task}
    warm_up = ScheduleConfig(warm_up_steps=4)
    return TrainState(task, dict(optimizers), {n: build_schedule(warm_up, o, 10) for n, o in optimizers.items()})


def step(state: TrainState) -> None:
    state.task["predictor"](torch.ones(1, 2)).sum().backward()
    state.task["discriminator"](torch.ones(1, 2)).sum().backward()
    for name, optimizer in state.optimizers.items():
        optimizer.step()
        state.schedulers[name].step()
    state.step += 1


def rates(state: TrainState) -> dict[str, float]:
    return {name: optimizer.param_groups[0]["lr"] for name, optimizer in state.optimizers.items()}


def test_the_fork_has_its_source_s_weights_and_its_own_rates_on_the_same_schedule(tmp_path: Path) -> None:
    source, target = (RunFolder(str(tmp_path / name)) for name in ("source", "target"))
    trained = state_of(1, rate=0.01)
    for _ in range(2):
        step(trained)
    CheckpointFolder(source.checkpoints("adversarial")).save(trained)
    fork_checkpoint(source, 2, target, {"predictor": 3.0, "discriminator": 1.0})

    went_on = state_of(2, rate=0.01)
    assert CheckpointFolder(target.checkpoints("adversarial")).restore_newest(went_on)
    assert went_on.step == 2
    weights = trained.task.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in went_on.task.state_dict().items())
    for state in (trained, went_on):
        step(state)
    expected = rates(trained)
    assert rates(went_on) == pytest.approx({**expected, "predictor": 3 * expected["predictor"]})


def test_an_heir_that_has_gone_on_is_not_set_back(tmp_path: Path) -> None:
    source, target = (RunFolder(str(tmp_path / name)) for name in ("source", "target"))
    trained = state_of(1, rate=0.01)
    CheckpointFolder(source.checkpoints("adversarial")).save(trained)
    fork_checkpoint(source, 0, target, {})
    went_on = state_of(2, rate=0.01)
    step(went_on)
    CheckpointFolder(target.checkpoints("adversarial")).save(went_on)
    fork_checkpoint(source, 0, target, {})
    assert CheckpointFolder(target.checkpoints("adversarial")).complete_steps() == [0, 1]


def test_a_donor_without_the_checkpoint_is_named(tmp_path: Path) -> None:
    source, target = (RunFolder(str(tmp_path / name)) for name in ("source", "target"))
    with pytest.raises(TrainingError, match=r"no complete checkpoint of step 4 in .*source"):
        fork_checkpoint(source, 4, target, {})
