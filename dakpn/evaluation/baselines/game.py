"""The game that both rivals play against their discriminators, as loss terms of one backward pass."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.func import functional_call

from dakpn.training.data import TensorBatch
from dakpn.training.losses import ADVERSARIAL_LOSSES

_LOSS = ADVERSARIAL_LOSSES["least_squares"]


@dataclass(frozen=True)
class RivalBatch(TensorBatch):
    """Unpaired images of both domains, float [B, 3, H, W] in 0..1."""

    synthetic: Tensor
    real: Tensor


def discriminator_loss(discriminator: nn.Module, real: Tensor, translated: Tensor) -> Tensor:
    """What the discriminator minimises; no gradient reaches what translated."""
    return _LOSS.discriminator(discriminator(real), discriminator(translated.detach()))


def generator_loss(discriminator: nn.Module, translated: Tensor) -> Tensor:
    """What the generator minimises; no gradient reaches the discriminator."""
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    return _LOSS.predictor(functional_call(discriminator, frozen, (translated,)))
