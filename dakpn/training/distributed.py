"""Several workers as one: DistributedDataParallel, and the check that they hold the same params."""

import hashlib

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dakpn.errors import TrainingError


def world_size() -> int:
    """Workers that train together; 1 outside of a process group."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def wrap_in_ddp(task: nn.Module) -> nn.Module:
    """Wrap the task in DistributedDataParallel, which averages gradients in each backward; alone it stays as it is."""
    return task if world_size() == 1 else DistributedDataParallel(task)


def wait_for_all() -> None:
    """Return once every worker has come here."""
    if world_size() > 1:
        torch.distributed.barrier()


def require_same_params(module: nn.Module) -> None:
    """Make sure that all workers hold the same trainable params, bit by bit.

    Raises:
        TrainingError: they do not, so that each would train a model of its own.
    """
    if world_size() == 1:
        return
    digest = params_digest(module)
    digests: list[str] = [""] * world_size()
    torch.distributed.all_gather_object(digests, digest)
    if len(set(digests)) > 1:
        raise TrainingError(
            f"the {len(digests)} workers hold different params ({', '.join(d[:8] for d in digests)}), expected the "
            "same ones: a worker misses gradients of the others; restart the run, and report this with its config"
        )


def params_digest(module: nn.Module) -> str:
    """SHA-256 of the trainable params."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
