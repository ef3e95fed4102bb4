"""Checkpoints: safetensors + JSON, written to a folder of their own and pointed to last.

Layout under the run: `checkpoints/step-00000100/{tensors.safetensors, tree.json}`. `tree.json` is written after the
tensors and carries their digest: a folder without it, or whose digest differs, is a half-written checkpoint.
"""

import hashlib
import json
import logging
import re
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from dakpn import storage
from dakpn.training.state import TrainState

logger = logging.getLogger(__name__)

_TENSORS, _TREE = "tensors.safetensors", "tree.json"
_STEP_FOLDER = re.compile(r"step-(\d{8})$")


class CheckpointFolder:
    """The checkpoints of one training stage; one process at a time writes them."""

    def __init__(self, uri: str, keep: int = 2) -> None:
        self.uri = uri
        self._keep = keep

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, then delete all but the newest `keep`, and what was never finished."""
        self.write(state.step, state.state_dict())
        # What is newer than the state was left by a run that went on from before it: damaged, or cut off.
        kept = [step for step in self.complete_steps() if step <= state.step][-self._keep :]
        for step in self._all_steps():
            if step not in kept:
                self._delete(step)

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Write what `TrainState.state_dict` gave as the checkpoint of a step."""
        tensors: dict[str, Tensor] = {}
        tree = _flatten(state, "", tensors)
        blob = save(tensors)
        folder = self._folder(step)
        storage.write_bytes(storage.join(folder, _TENSORS), blob)
        document = {"sha256": hashlib.sha256(blob).hexdigest(), "tree": tree}
        storage.write_json(storage.join(folder, _TREE), document)

    def restore_newest(self, state: TrainState) -> bool:
        """Load the newest complete checkpoint into `state`; False when there is none.

        Raises:
            StorageError: the storage gave no answer; nothing is taken for missing.
        """
        for step in reversed(self._all_steps()):
            document = self.read(step)
            if document is not None:
                state.load_state_dict(document)
                logger.info("resumed at step %d from %s", state.step, self.uri)
                return True
        return False

    def complete_steps(self) -> list[int]:
        """Steps of the checkpoints that were written to their end, ascending."""
        return [step for step in self._all_steps() if self._finished(step)]

    def read(self, step: int) -> dict[str, Any] | None:
        """The `TrainState.state_dict` of a step; None, and a warning, if its checkpoint is not complete.

        Raises:
            StorageError: the storage gave no answer.
        """
        folder = self._folder(step)
        if not self._finished(step):
            logger.warning(
                "checkpoint %s is incomplete and ignored: its writing was cut off; the next one clears it away", folder
            )
            return None
        document_bytes = storage.read_bytes(storage.join(folder, _TREE))
        blob = storage.read_bytes(storage.join(folder, _TENSORS))
        try:
            document = json.loads(document_bytes)
            if hashlib.sha256(blob).hexdigest() != document["sha256"]:
                raise ValueError("its tensors do not match their digest")
            return _unflatten(document["tree"], load(blob))
        except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            logger.warning("checkpoint %s is incomplete and ignored: %s", folder, error)
            return None

    def clear(self) -> None:
        """Delete all of them."""
        for step in self._all_steps():
            self._delete(step)
        storage.delete_folder(self.uri)

    def _finished(self, step: int) -> bool:
        folder = self._folder(step)
        return all(storage.exists(storage.join(folder, name)) for name in (_TREE, _TENSORS))

    def _all_steps(self) -> list[int]:
        matches = [_STEP_FOLDER.search(folder) for folder in storage.list_folders(self.uri)]
        return sorted(int(match[1]) for match in matches if match)

    def _folder(self, step: int) -> str:
        return storage.join(self.uri, f"step-{step:08d}")

    def _delete(self, step: int) -> None:
        storage.delete(storage.join(self._folder(step), _TREE))  # the mark of completeness goes first
        storage.delete_folder(self._folder(step))


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Move the tensors of nested dicts and lists into `tensors`; return the rest as JSON."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, dict):
        items = [[key, _flatten(item, f"{path}/{key}", tensors)] for key, item in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    json.dumps(value)
    return {"value": value}


def _unflatten(node: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    match node:
        case {"tensor": path}:
            return tensors[path]
        case {"dict": items}:
            return {key: _unflatten(item, tensors) for key, item in items}
        case {"list": items}:
            return [_unflatten(item, tensors) for item in items]
        case {"value": value}:
            return value
    raise ValueError(f"unknown node {node!r} in the tree")
