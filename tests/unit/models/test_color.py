"""HSV conversion: against the standard library, and gradients on every awkward colour."""

import colorsys

import pytest
import torch

from dakpn.models.color import hsv_to_rgb, rgb_to_hsv

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


def test_every_byte_colour_survives_the_round_trip():
    levels = torch.arange(0, 256, 5).float() / 255
    rgb = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 52, -1)
    back = (hsv_to_rgb(rgb_to_hsv(rgb)) * 255).round()
    assert torch.equal(back, (rgb * 255).round())


def test_hue_wraps_instead_of_clamping():
    red = as_image((0.99, 0.5, 0.5))
    assert torch.allclose(hsv_to_rgb(red), hsv_to_rgb(red + torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)))
    assert torch.allclose(hsv_to_rgb(red), hsv_to_rgb(red - torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)))
