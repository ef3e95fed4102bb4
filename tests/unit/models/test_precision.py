"""What networks compute in, by device."""

import pytest
import torch

from dakpn.models.precision import autocast, compute_dtype, place

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_bfloat16_is_for_gpus_unless_the_config_says_otherwise() -> None:
    assert compute_dtype("auto", CPU) == torch.float32
    assert compute_dtype("auto", CUDA) == torch.bfloat16
    assert compute_dtype("float32", CUDA) == torch.float32
    assert compute_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_convolution_computes_in_the_type_while_its_params_stay(dtype: torch.dtype) -> None:
    layer = place(torch.nn.Conv2d(3, 4, 3), CPU)
    with autocast(CPU, dtype):
        answer = layer(torch.rand(1, 3, 8, 8))
    assert answer.dtype == dtype
    answer.float().sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in layer.parameters() if p.grad is not None)
