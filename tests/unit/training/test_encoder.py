"""The encoder's rounds: who makes what, and what taking the colours of real images means."""

import torch

from dakpn.config import StyleConfig
from dakpn.models.style import ColorMoments, color_moments
from dakpn.training.encoder_rounds import encoder_rounds, in_real_colours
from dakpn.training.loop import Batch
from dakpn.training.run_folder import RunFolder

CLASSES, IGNORED = 3, 255


def test_every_round_takes_the_colours_that_the_one_before_it_collected() -> None:
    first, second, last = encoder_rounds(RunFolder("run"), 2)
    assert first.colours is None
    assert second.colours == first.styles is not None
    assert last.colours == second.styles is not None
    assert last.styles is None
    assert last.weights == "run/encoder"
    assert len({r.weights for r in (first, second, last)}) == len({r.stage for r in (first, second, last)}) == 3


def test_without_adaptation_the_first_round_is_the_last() -> None:
    (only,) = encoder_rounds(RunFolder("run"), 0)
    assert (only.stage, only.weights, only.styles, only.colours) == ("encoder", "run/encoder", None, None)


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (2, 16, 16), generator=generator)
    image = 0.3 + 0.1 * label[:, None] + 0.05 * torch.rand(2, 3, 16, 16, generator=generator)
    return {"image": image, "label": label}


def styles(count: int = 4) -> ColorMoments:
    """Of real images whose classes are brighter, and of another order, than those of `batch`."""
    generator = torch.Generator().manual_seed(9)
    classes = torch.arange(CLASSES).repeat_interleave(64).expand(count, -1).reshape(count, 1, 12, 16)
    real = 0.9 - 0.15 * classes + 0.04 * torch.rand(count, 3, 12, 16, generator=generator)
    shares = (classes == torch.arange(CLASSES)[:, None, None]).float()
    return color_moments(real, shares)


def recoloured(batches: list[Batch], start_step: int = 0, rank: int = 0) -> list[Batch]:
    return list(in_real_colours(iter(batches), styles(), StyleConfig(scarce_mass=1e-6), 5, rank, start_step))


def test_each_class_gets_the_colours_that_it_has_in_a_real_image() -> None:
    before = batch()
    (after,) = recoloured([before])
    assert torch.equal(after["label"], before["label"])
    shares = (before["label"][:, None] == torch.arange(CLASSES)[:, None, None]).float()
    reached = color_moments(after["image"], shares)
    wanted = styles()
    for image in range(2):
        distance = (reached.class_mean[image] - wanted.class_mean).abs().amax((1, 2))
        assert distance.min() < 0.01  # one of the real images', class by class
        assert (color_moments(before["image"], shares).class_mean[image] - wanted.class_mean).abs().amax() > 0.1


def test_ignored_pixels_take_the_colours_of_the_whole_image() -> None:
    before = batch()
    before["label"][:, :4] = IGNORED
    (after,) = recoloured([before])
    assert after["image"].isfinite().all()
    assert (after["image"][:, :, :4] - before["image"][:, :, :4]).abs().mean() > 0.05
    assert (after["label"][:, :4] == IGNORED).all()


def test_draws_are_a_function_of_step_and_rank() -> None:
    batches = [batch(n) for n in range(6)]
    whole = recoloured(batches)
    resumed = recoloured(batches[3:], start_step=3)
    for one, other in zip(whole[3:], resumed, strict=True):
        assert torch.equal(one["image"], other["image"])
    elsewhere = recoloured(batches, rank=1)
    assert any(not torch.equal(a["image"], b["image"]) for a, b in zip(whole, elsewhere, strict=True))
