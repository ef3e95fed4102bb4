"""A run that goes on from another run's checkpoint, with other learning rates."""

from collections.abc import Mapping
from typing import Any

from dakpn.errors import TrainingError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.encoder import copy_styles
from dakpn.training.run_folder import RunFolder

_STAGE = "adversarial"


def inherit_checkpoint(donor: RunFolder, step: int, heir: RunFolder, factors: Mapping[str, float]) -> None:
    """Make another run's checkpoint of the predictor's training the heir's own; done before, nothing is done.

    Learning rates are part of a checkpoint, and may have been lowered by an alarm: so they are multiplied, not set.

    Args:
        donor: whose checkpoint it is.
        step: of the checkpoint.
        heir: a run folder without checkpoints of its own.
        factors: player -> what its learning rate is multiplied by.

    Raises:
        TrainingError: the donor's checkpoint is gone or damaged.
    """
    inherited = CheckpointFolder(heir.checkpoints(_STAGE))
    if inherited.complete_steps():
        return
    checkpoints = CheckpointFolder(donor.checkpoints(_STAGE))
    state = checkpoints.read(step)
    if state is None:
        raise TrainingError(f"no complete checkpoint of step {step} in {checkpoints.uri}; expected one to go on from")
    for player, factor in factors.items():
        _multiply_rates(state, player, factor)
    copy_styles(donor.styles, heir.styles)
    inherited.write(step, state)


def _multiply_rates(state: dict[str, Any], player: str, factor: float) -> None:
    for group in state["optimizers"][player]["param_groups"]:
        for name in {"lr", "initial_lr"} & group.keys():
            group[name] *= factor
    schedule = state["schedulers"][player]
    for name in {"base_lrs", "_last_lr"} & schedule.keys():
        schedule[name] = [rate * factor for rate in schedule[name]]
