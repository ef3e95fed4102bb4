"""Start a run from another run's checkpoint, with other learning rates, as population-based training does."""

from collections.abc import Mapping
from typing import Any

from dakpn.errors import TrainingError
from dakpn.training.checkpoint import CheckpointFolder
from dakpn.training.encoder import copy_styles
from dakpn.training.run_folder import RunFolder

_STAGE = "adversarial"


def fork_checkpoint(source: RunFolder, step: int, target: RunFolder, factors: Mapping[str, float]) -> None:
    """Copy a checkpoint of the predictor's training into another run's folder, unless that has checkpoints already.

    Learning rates are part of a checkpoint, and may have been lowered by an alarm: so they are multiplied, not set.

    Args:
        source: Folder of the run whose checkpoint it is.
        step: Optimizer updates after which the checkpoint was written.
        target: Folder of a run without checkpoints of its own.
        factors: Name of a network -> what its learning rate is multiplied by.

    Raises:
        TrainingError: the source's checkpoint is gone or damaged.
    """
    forked = CheckpointFolder(target.checkpoints(_STAGE))
    if forked.complete_steps():
        return
    checkpoints = CheckpointFolder(source.checkpoints(_STAGE))
    state = checkpoints.read(step)
    if state is None:
        raise TrainingError(f"no complete checkpoint of step {step} in {checkpoints.uri}; expected one to go on from")
    for network, factor in factors.items():
        _multiply_rates(state, network, factor)
    copy_styles(source.styles, target.styles)
    forked.write(step, state)


def _multiply_rates(state: dict[str, Any], network: str, factor: float) -> None:
    for group in state["optimizers"][network]["param_groups"]:
        for name in {"lr", "initial_lr"} & group.keys():
            group[name] *= factor
    schedule = state["schedulers"][network]
    for name in {"base_lrs", "_last_lr"} & schedule.keys():
        schedule[name] = [rate * factor for rate in schedule[name]]
