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

from dakpn.data import storage
from dakpn.errors import DakpnError
from dakpn.training.state import TrainState

logger = logging.getLogger(__name__)

_TENSORS, _TREE = "tensors.safetensors", "tree.json"
_STEP_FOLDER = re.compile(r"step-(\d{8})$")


class CheckpointFolder:
    """The checkpoints of one training stage."""

    def __init__(self, uri: str, keep: int = 2) -> None:
        self.uri = uri
        self._keep = keep

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, then prune all but the newest `keep`."""
        tensors: dict[str, Tensor] = {}
        tree = _flatten(state.state_dict(), "", tensors)
        blob = save(tensors)
        folder = storage.join(self.uri, f"step-{state.step:08d}")
        storage.write_bytes(storage.join(folder, _TENSORS), blob)
        document = {"sha256": hashlib.sha256(blob).hexdigest(), "tree": tree}
        storage.write_json(storage.join(folder, _TREE), document)
        for step in self._complete_steps()[: -self._keep]:
            self._delete(step)

    def restore_newest(self, state: TrainState) -> bool:
        """Load the newest complete checkpoint into `state`; False when there is none."""
        for step in reversed(self._complete_steps()):
            document = self._read(step)
            if document is not None:
                state.load_state_dict(document)
                logger.info("resumed at step %d from %s", state.step, self.uri)
                return True
        return False

    def _read(self, step: int) -> dict[str, Any] | None:
        folder = storage.join(self.uri, f"step-{step:08d}")
        try:
            document = storage.read_json(storage.join(folder, _TREE))
            blob = storage.read_bytes(storage.join(folder, _TENSORS))
            if hashlib.sha256(blob).hexdigest() != document["sha256"]:
                raise ValueError("its tensors do not match their digest")
            return _unflatten(document["tree"], load(blob))
        except (DakpnError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            logger.warning("checkpoint %s is incomplete and ignored: %s", folder, error)
            return None

    def _complete_steps(self) -> list[int]:
        steps = []
        for folder in storage.list_folders(self.uri):
            match = _STEP_FOLDER.search(folder)
            if match and storage.exists(storage.join(folder, _TREE)):
                steps.append(int(match[1]))
        return sorted(steps)

    def _delete(self, step: int) -> None:
        folder = storage.join(self.uri, f"step-{step:08d}")
        for name in (_TREE, _TENSORS):  # the mark of completeness goes first
            storage.delete(storage.join(folder, name))


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
