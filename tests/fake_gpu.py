"""A device without values: on a machine without a GPU, what mixes devices up fails here as it would there.

Tensors on it have shapes, types and a place, and no content. An operation of a tensor here and one there is an error,
forward and backward; what is copied back holds zeros, and each copy back counts as waiting for the device. On the CPU
all is as ever. torch's interfaces for this are private; tests alone may use them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from dakpn.models.function import color, noise
from dakpn.translation import on_device

_NAME = "gpu"
_aten = torch.ops.aten
_MADE = (_aten.empty.memory_format, _aten.detach.default, _aten.lift_fresh.default)


class FakeGpu(TorchDispatchMode):
    """The device, as long as `fake_gpu` lasts.

    Attributes:
        waits: copies back to the CPU, and values read, since it was last set to 0.
        kernels: operations on the device that are no mere views, likewise; some take more than one kernel there.
        on_host: operations of the CPU alone that compute, likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = self.kernels = self.on_host = 0
        self.device = torch.device(_NAME)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        there = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, FakeTensor)]
        to_there = wanted is not None and torch.device(wanted).type == _NAME
        if not there and not to_there:
            self.on_host += not (func.is_view or func in _MADE)
            with unset_fake_temporarily():  # a matter of the CPU alone
                return func(*args, **kwargs)
        if func is _aten._to_copy.default:
            return self._copied(args[0], kwargs.get("dtype") or args[0].dtype, wanted)
        if func is _aten._local_scalar_dense.default:
            self.waits += 1
            return args[0].dtype == torch.bool or 0.0
        if func is _aten.copy_.default and args[0].device.type == "cpu":
            self.waits += 1
            with unset_fake_temporarily():
                return args[0].zero_()
        if not func.is_view and func is not torch.ops.prim.device.default:
            self.kernels += 1
        return func(*args, **kwargs)

    def _copied(self, tensor: torch.Tensor, dtype: torch.dtype, wanted: Any) -> torch.Tensor:
        device = tensor.device if wanted is None else torch.device(wanted)
        self.kernels += 1
        if device.type == _NAME:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device=device)
        self.waits += 1
        with unset_fake_temporarily():
            return torch.zeros(tensor.shape, dtype=dtype)


def register() -> None:
    """Make the device known; torch counts devices at the first backward of a process, so it must come before."""
    if not hasattr(torch, _NAME):
        _setup_privateuseone_for_python_backend(_NAME)
        torch.gpu.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]


@contextmanager
def _no_inference_mode() -> Iterator[None]:
    """Have inference mode do what `no_grad` does: nothing can be made on the device in it."""
    ways = {name: getattr(torch.inference_mode, name) for name in ("__enter__", "__exit__")}
    before: list[bool] = []

    def enter(mode: torch.inference_mode) -> None:
        before.append(torch.is_grad_enabled())
        torch.set_grad_enabled(before[-1] and not mode.mode)

    def leave(mode: torch.inference_mode, *unused: Any) -> None:
        torch.set_grad_enabled(before.pop())

    torch.inference_mode.__enter__, torch.inference_mode.__exit__ = enter, leave  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name, way in ways.items():
            setattr(torch.inference_mode, name, way)


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Run the block with the device there."""
    constants = (color._constant, noise._quantiles_on, on_device._resampling, on_device._grid)
    try:
        with _no_inference_mode(), FakeTensorMode(allow_non_fake_inputs=True), FakeGpu() as device:
            yield device
    finally:
        for kept in constants:
            kept.cache_clear()
