"""The style bank: moments, the affine towards an entry, and which entry an image draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dakpn.config import (
    HeadConfig,
    HsvAffineConfig,
    LabAffineConfig,
    NetworkConfig,
    PredictorConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslationConfig,
)
from dakpn.models.function.color import lab_to_rgb, rgb_to_lab
from dakpn.models.function.stages import build_stage
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import ColorMoments, StyleBank, affine_towards, color_moments, drawn_look

SIZE = (12, 16)
CLASSES = 3
NETWORK: NetworkConfig = SmallNetworkConfig(widths=(4, 4, 8, 8))


def random_images(count: int, seed: int, low: float = 0.2, high: float = 0.8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, 3, *SIZE, generator=generator)


def striped_classes(count: int) -> torch.Tensor:
    """Class 0 left, class 1 in the middle, class 2 nowhere; the last four columns belong to no class."""
    classes = torch.zeros(count, CLASSES, *SIZE)
    classes[:, 0, :, :6] = 1
    classes[:, 1, :, 6:12] = 1
    return classes


def applied(images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    return build_stage(LabAffineConfig()).apply(images, params, images)


def predictor(condition: str = "label", kind: str = "class", entries: int = 2) -> KernelPredictor:
    torch.manual_seed(0)
    built = KernelPredictor(
        PredictorConfig(
            num_classes=CLASSES,
            prediction_size=SIZE,
            network=NETWORK,
            head=HeadConfig.model_validate({"condition": condition}),
            translation=TranslationConfig(stages=(HsvAffineConfig(),)),
            style=StyleConfig.model_validate({"kind": kind}),
            style_keys=tuple(f"real-{number}" for number in range(entries)),
        )
    ).eval()
    torch.nn.init.normal_(built.head.weight)
    if built.style_bank is not None:
        real = random_images(entries, 5, 0.3, 0.6)
        built.style_bank.fill(color_moments(real, striped_classes(entries)))
    return built


def test_moments_are_those_of_each_region():
    images, classes = random_images(2, 0), striped_classes(2)
    moments = color_moments(images, classes)
    lab = rgb_to_lab(images)
    torch.testing.assert_close(moments.mean, lab.mean((2, 3)))
    torch.testing.assert_close(moments.class_mass, torch.tensor([[6 / 16, 6 / 16, 0.0]]).expand(2, -1))
    left = lab[..., :6].flatten(2)
    torch.testing.assert_close(moments.class_mean[:, 0], left.mean(2), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(moments.class_spread[:, 0], left.std(2, correction=0), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["global", "class"])
def test_an_image_reaches_the_moments_of_its_style(kind):
    # A style that was made from the image by an affine can be reached exactly.
    images, classes = random_images(3, 1, 0.4, 0.6), striped_classes(3)
    target = lab_to_rgb(0.8 * rgb_to_lab(images) + torch.tensor([-0.2, 0.02, -0.02]).view(3, 1, 1))
    assert 0 < target.min() < target.max() < 1
    config = StyleConfig.model_validate({"kind": kind})
    params = affine_towards(color_moments(target, classes), color_moments(images, classes), classes, config)
    assert params.shape == (3, 6, *SIZE)
    moved = color_moments(applied(images, params), classes)
    torch.testing.assert_close(moved.mean, color_moments(target, classes).mean, atol=5e-3, rtol=0)
    torch.testing.assert_close(moved.class_mean, color_moments(target, classes).class_mean, atol=5e-3, rtol=0)


def test_each_class_goes_to_its_own_color():
    images, classes = random_images(1, 2), striped_classes(1)
    real = random_images(1, 3)
    real[..., :6] *= torch.tensor([1.2, 0.6, 0.6]).view(3, 1, 1)  # class 0 is red there
    params = affine_towards(color_moments(real, classes), color_moments(images, classes), classes, StyleConfig())
    change = (applied(images, params) - images).mean((0, 2))
    assert change[0, :6].mean() > 0.02 > change[1, :6].mean() + 0.02
    assert change[:, 7:11].abs().max() < 0.1


def test_a_class_that_the_style_lacks_goes_the_way_of_the_whole_image():
    images, classes = random_images(1, 2), striped_classes(1)
    elsewhere = torch.zeros(1, CLASSES, *SIZE)
    elsewhere[:, 2] = 1  # the real image shows class 2 alone
    style = color_moments(random_images(1, 3), elsewhere)
    own = color_moments(images, classes)
    by_class = affine_towards(style, own, classes, StyleConfig(kind="class"))
    torch.testing.assert_close(by_class, affine_towards(style, own, classes, StyleConfig(kind="global")))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 1e-3, 0.5, 1.0]), st.sampled_from([0.0, 1e-3, 0.5, 1.0]))
def test_no_pair_of_images_leaves_the_bounds(seed, own_contrast, style_contrast):
    generator = torch.Generator().manual_seed(seed)
    contrasts = (own_contrast, style_contrast)
    noisy = (contrast * torch.randn(2, 3, *SIZE, generator=generator) for contrast in contrasts)
    images, real = ((torch.rand(2, 3, 1, 1, generator=generator) + noise).clamp(0, 1) for noise in noisy)
    own, theirs = (torch.rand(2, CLASSES + 1, *SIZE, generator=generator).pow(4) for _ in range(2))
    own, theirs = (shares / shares.sum(1, keepdim=True) for shares in (own, theirs))
    style = color_moments(real, theirs[:, :CLASSES])
    own = own[:, :CLASSES]
    params = affine_towards(style, color_moments(images, own), own, StyleConfig(kind="class"))
    stage = build_stage(LabAffineConfig())
    low, high = (torch.tensor(bound).view(-1, 1, 1) for bound in (stage.low, stage.high))
    assert ((params >= low - 1e-4) & (params <= high + 1e-4)).all()


def test_a_bank_gives_back_its_entries_and_numbers_wrap():
    bank = StyleBank(3, CLASSES)
    moments = color_moments(random_images(3, 0), striped_classes(3))
    bank.fill(moments)
    chosen = bank(torch.tensor([4, 2]))
    for name in ColorMoments._fields:
        assert torch.equal(getattr(chosen, name), getattr(moments, name)[[1, 2]])


def test_a_look_is_a_function_of_key_and_draw():
    assert drawn_look("a", 0, (0.0, 1.0)) == drawn_look("a", 0, (0.0, 1.0))
    looks = {drawn_look(key, draw, (0.25, 0.75)) for key in "abcdefgh" for draw in range(50)}
    assert len(looks) == 400
    strengths = torch.tensor([look.refinement for look in looks])
    assert 0.25 <= strengths.min() < 0.27
    assert 0.73 < strengths.max() <= 0.75
    counts = torch.bincount(torch.tensor([look.style % 4 for look in looks]))
    assert counts.min() > 70
    assert {drawn_look(key, 0, (1.0, 1.0)).refinement for key in "abc"} == {1.0}


@pytest.mark.parametrize("condition", ["encoder", "label", "both"])
@pytest.mark.parametrize("kind", ["none", "global", "class"])
def test_every_condition_works_with_every_bank(condition, kind):
    model = predictor(condition, kind)
    images = random_images(2, 1)
    labels = striped_classes(2) if condition != "encoder" else None
    params = model(images, label_classes=labels, styles=torch.tensor([0, 1]))
    assert params.shape == (2, model.function.num_params, *SIZE) == (2, 6 if kind == "none" else 12, *SIZE)
    low, high = (torch.tensor(bound).view(-1, 1, 1) for bound in (model.function.low, model.function.high))
    assert ((params >= low - 1e-4) & (params <= high + 1e-4)).all()


def test_what_a_pixel_becomes_depends_on_its_label():
    model = predictor("label", "none")
    images = random_images(1, 1)
    labels = striped_classes(1)
    before = model(images, label_classes=labels)
    changed = labels.clone()
    changed[:, :, 3, 2] = torch.tensor([0.0, 0.0, 1.0])
    after = model(images, label_classes=changed)
    assert (after - before).abs().amax((0, 1)).nonzero().tolist() == [[3, 2]]


def test_the_label_alone_is_looked_at_when_it_alone_counts():
    model = predictor("label", "class")
    images, labels, styles = random_images(1, 1), striped_classes(1), torch.tensor([0])
    expected = model(images, label_classes=labels, styles=styles)
    torch.nn.init.normal_(model.encoder.get_parameter("classify.weight"), std=100)
    assert torch.equal(model(images, label_classes=labels, styles=styles), expected)


def test_no_gradient_is_spent_on_the_style():
    model = predictor("label", "class")
    params = model(random_images(1, 1), label_classes=striped_classes(1), styles=torch.tensor([0]))
    style, refinement = model.split_params(params)
    (gradient,) = torch.autograd.grad(refinement.sum(), model.head.weight, retain_graph=True)
    assert gradient.abs().sum() > 0
    (gradient,) = torch.autograd.grad(style.sum() + 0 * refinement.sum(), model.head.weight)
    assert gradient.abs().sum() == 0
