"""PatchGAN discriminators, one logit a patch, and the gradient reversal that a predictor can be trained by."""

import torch
from torch import Tensor, nn

from dakpn.config import DiscriminatorConfig


class PatchDiscriminator(nn.Module):
    """4 x 4 convolutions of stride 2, LeakyReLU 0.2, one logit a patch.

    Instance normalization where the paper has batch normalization: batch statistics would differ between DDP workers.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for depth, width in enumerate(config.widths):
            layers.append(nn.Conv2d(channels, width, 4, stride=2, padding=1))
            if depth > 0 and config.normalization == "instance":
                layers.append(nn.InstanceNorm2d(width))
            layers.append(nn.LeakyReLU(0.2))
            channels = width
        layers.append(nn.Conv2d(channels, 1, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, 1, H / 2^n, W / 2^n] for images [B, 3, H, W] in 0..1; above 0 means "real"."""
        return self.layers(2 * images - 1)

    @staticmethod
    def smallest_input(config: DiscriminatorConfig) -> int:
        """Pixels a side below which instance normalization would see a single value."""
        return 2 ** (len(config.widths) + 1)


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
