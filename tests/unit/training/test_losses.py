"""Adversarial losses: all agree on what a logit means."""

import pytest
import torch
from torch import Tensor

from dakpn.training.losses import ADVERSARIAL_LOSSES, AdversarialLoss

every_loss = pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES.values(), ids=ADVERSARIAL_LOSSES)


def logits(value: float) -> Tensor:
    return torch.full((2, 1, 3, 4), value)


@every_loss
def test_the_discriminator_pays_less_the_better_it_separates(loss: AdversarialLoss) -> None:
    costs = [float(loss.discriminator(logits(margin), logits(-margin))) for margin in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)


@every_loss
def test_the_threshold_between_real_and_translated_is_zero(loss: AdversarialLoss) -> None:
    """Undecided logits cost the same on both sides, and either side gains by leaving zero in its own direction."""
    for shift in (0.25, 0.75):
        assert torch.isclose(
            loss.discriminator(logits(shift), logits(shift)), loss.discriminator(logits(-shift), logits(-shift))
        )
    real, translated = logits(0.0).requires_grad_(), logits(0.0).requires_grad_()
    loss.discriminator(real, translated).backward()
    assert real.grad is not None
    assert translated.grad is not None
    assert (real.grad < 0).all()
    assert torch.allclose(real.grad, -translated.grad)


@every_loss
def test_the_predictor_pays_less_the_more_real_its_images_look(loss: AdversarialLoss) -> None:
    costs = [float(loss.predictor(logits(value))) for value in (-3.0, -1.0, 0.0, 0.9)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)


@every_loss
def test_a_predictor_that_is_losing_clearly_still_gets_a_gradient(loss: AdversarialLoss) -> None:
    """Non-saturating: where the discriminator is sure, the pull is at its strongest or close to it."""

    def pull(value: float) -> float:
        translated = logits(value).requires_grad_()
        loss.predictor(translated).backward()
        assert translated.grad is not None
        return -float(translated.grad.sum())

    assert pull(-10.0) >= pull(0.0) > 0


@every_loss
def test_a_loss_does_not_depend_on_the_number_of_logits(loss: AdversarialLoss) -> None:
    one, many = torch.tensor([[0.3]]), torch.full((5, 7), 0.3)
    assert torch.isclose(loss.discriminator(one, -one), loss.discriminator(many, -many))
    assert torch.isclose(loss.predictor(one), loss.predictor(many))
