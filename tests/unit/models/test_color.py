"""Color conversions: against others' formulas, there and back, and gradients on every awkward color."""

import colorsys
import math

import pytest
import torch

from dakpn.models.function.color import hsv_to_rgb, lab_to_rgb, rgb_to_hsv, rgb_to_lab

AWKWARD = {
    "black": (0, 0, 0),
    "white": (1, 1, 1),
    "grey": (0.5, 0.5, 0.5),
    "red": (1, 0, 0),
    "yellow (tie of maxima)": (1, 1, 0),
    "cyan (tie of maxima)": (0, 1, 1),
    "tie of minima": (0.2, 0.9, 0.2),
    "almost grey": (0.5, 0.5 + 1e-6, 0.5),
}


def as_image(color: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float64).view(1, 3, 1, 1)


def test_agrees_with_the_standard_library():
    colors = torch.rand(1, 3, 40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = rgb_to_hsv(colors)[0].flatten(1).T
    theirs = torch.tensor([colorsys.rgb_to_hsv(*c) for c in colors[0].flatten(1).T.tolist()], dtype=torch.float64)
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("color", AWKWARD.values(), ids=AWKWARD.keys())
def test_round_trip_and_finite_gradients(color):
    rgb = as_image(color).requires_grad_()
    hsv = rgb_to_hsv(rgb)
    back = hsv_to_rgb(hsv)
    assert torch.allclose(back, rgb, atol=1e-5)
    (gradient,) = torch.autograd.grad(back.sum() + hsv.sum(), rgb)
    assert gradient.isfinite().all()


def test_every_byte_color_survives_the_round_trip():
    levels = torch.arange(0, 256, 5).float() / 255
    rgb = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 52, -1)
    back = (hsv_to_rgb(rgb_to_hsv(rgb)) * 255).round()
    assert torch.equal(back, (rgb * 255).round())


def test_hue_wraps_instead_of_clamping():
    red = as_image((0.99, 0.5, 0.5))
    assert torch.allclose(hsv_to_rgb(red), hsv_to_rgb(red + torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)))
    assert torch.allclose(hsv_to_rgb(red), hsv_to_rgb(red - torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)))


@pytest.mark.parametrize("color", AWKWARD.values(), ids=AWKWARD.keys())
def test_lab_round_trip_and_finite_gradients(color):
    rgb = as_image(color).requires_grad_()
    lab = rgb_to_lab(rgb)
    back = lab_to_rgb(lab)
    assert torch.allclose(back, rgb, atol=1e-12)
    (gradient,) = torch.autograd.grad(back.sum() + lab.sum(), rgb)
    assert gradient.isfinite().all()


def test_lab_is_that_of_reinhard_but_for_the_offset():
    red, green, blue = 0.6, 0.3, 0.8
    cones = (
        0.3811 * red + 0.5783 * green + 0.0402 * blue,
        0.1967 * red + 0.7244 * green + 0.0782 * blue,
        0.0241 * red + 0.1288 * green + 0.8444 * blue,
    )
    long, medium, short = (math.log10(cone + 1 / 255) for cone in cones)
    expected = (
        (long + medium + short) / math.sqrt(3),
        (long + medium - 2 * short) / math.sqrt(6),
        (long - medium) / math.sqrt(2),
    )
    assert rgb_to_lab(as_image((red, green, blue))).flatten().tolist() == pytest.approx(expected)


def test_lab_of_greys_differs_in_lightness_alone():
    greys = torch.linspace(0, 1, 30, dtype=torch.float64).expand(1, 3, 1, 30)
    lab = rgb_to_lab(greys)[0, :, 0]
    assert (lab[0].diff() > 0).all()
    assert lab[1:].abs().max() < 0.02
