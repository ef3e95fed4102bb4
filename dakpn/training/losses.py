"""Adversarial losses on discriminator logits; a logit above 0 means "real". And the R1 penalty."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(NamedTuple):
    """What the predictor and the discriminator minimize.

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


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Mean squared gradient norm of a discriminator's logits at real images, as a term of the same backward.

    With one logit an image this is Mescheder's E |grad D(x)|^2 / 2. A patch discriminator has many, each with a
    receptive field of its own: the norm is taken of their sum's gradient and divided by their number, so that the
    penalty does not depend on the size of the image.

    Args:
        logits: [B, 1, h, w], computed from `images`.
        images: [B, 3, H, W] that require a gradient.

    Source: Mescheder et al. 2018.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum() / (2 * logits.numel())
