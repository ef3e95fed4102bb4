"""What the networks compute in: bfloat16 where a GPU is fast at it, float32 elsewhere."""

from typing import Literal, TypeVar

import torch

CPU = torch.device("cpu")
_Module = TypeVar("_Module", bound=torch.nn.Module)


def compute_dtype(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> torch.dtype:
    """The type that a config's `precision` means on this device."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Run a network's forward in this type; its params and their gradients stay float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def device_of(module: torch.nn.Module) -> torch.device:
    """Where a module's params are; the CPU for one without any."""
    parameter = next(module.parameters(), None)
    return CPU if parameter is None else parameter.device


def place(module: _Module, device: torch.device) -> _Module:
    """Move a module to the device; on a GPU its convolutions go channels-last, which bfloat16 kernels want."""
    memory_format = torch.channels_last if device.type == "cuda" else torch.preserve_format
    return module.to(device=device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
