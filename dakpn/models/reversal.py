"""Gradient reversal: the identity forward, the negated gradient backward."""

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -ctx.strength * grad, None


def reverse_gradient(values: Tensor, strength: float = 1.0) -> Tensor:
    """`values` unchanged; their gradient is multiplied by `-strength`.

    Source: Ganin and Lempitsky 2015. The strength belongs to the call: kept on a class it would be shared by all.
    """
    return _Reversal.apply(values, strength)
