"""Adversarial losses: all agree on what a logit means."""

import pytest
import torch
from torch import Tensor

from dakpn.training.losses import ADVERSARIAL_LOSSES, AdversarialLoss, r1_penalty

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


def test_r1_is_half_the_squared_gradient_of_a_single_logit() -> None:
    images = torch.rand(2, 3, 4, 5, requires_grad=True)
    direction = torch.randn(3, 4, 5)
    penalty = r1_penalty((images * direction).sum((1, 2, 3)).view(2, 1, 1, 1), images)
    torch.testing.assert_close(penalty, direction.square().sum() / 2)


def test_r1_of_a_patch_discriminator_does_not_depend_on_the_size_of_the_image() -> None:
    patches = torch.nn.Conv2d(3, 1, 4, stride=4)
    penalties = []
    for size in (8, 32):
        images = torch.rand(2, 3, size, size, requires_grad=True)
        penalties.append(r1_penalty(patches(images), images))
    torch.testing.assert_close(*penalties)
    assert penalties[0] > 1e-3


def test_r1_pulls_the_discriminator_towards_flatness() -> None:
    judge = torch.nn.Conv2d(3, 1, 4)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    before = r1_penalty(judge(images), images)
    before.backward()
    with torch.no_grad():
        judge.weight -= 0.01 * judge.weight.grad  # pyright: ignore[reportOperatorIssue]
    assert r1_penalty(judge(images), images) < before
