"""Adversarial losses on discriminator logits; a logit above 0 means "real"."""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(NamedTuple):
    """What each player minimises.

    Attributes:
        discriminator: (logits of real, logits of translated) -> scalar.
        predictor: logits of translated -> scalar, non-saturating.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    predictor: Callable[[Tensor], Tensor]


def _bce_discriminator(real: Tensor, translated: Tensor) -> Tensor:
    return (F.softplus(-real).mean() + F.softplus(translated).mean()) / 2


def _least_squares_discriminator(real: Tensor, translated: Tensor) -> Tensor:
    return ((real - 1).square().mean() + (translated + 1).square().mean()) / 2


def _hinge_discriminator(real: Tensor, translated: Tensor) -> Tensor:
    return (F.relu(1 - real).mean() + F.relu(1 + translated).mean()) / 2


ADVERSARIAL_LOSSES = {
    "bce": AdversarialLoss(_bce_discriminator, lambda translated: F.softplus(-translated).mean()),
    # Targets -1 and 1 rather than 0 and 1, so that the decision threshold is 0 for every loss.
    "least_squares": AdversarialLoss(_least_squares_discriminator, lambda translated: (translated - 1).square().mean()),
    "hinge": AdversarialLoss(_hinge_discriminator, lambda translated: -translated.mean()),
}
"""By the name used in configs. Sources: Goodfellow 2014, Mao 2017, Lim and Ye 2017."""
