"""The translation function and its guarantee."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dakpn.config import GammaConfig, GaussianBlurConfig, HsvAffineConfig, NoiseConfig, TranslationConfig
from dakpn.models.function.translation import TranslationFunction, upsample_params, upsample_patches
from tests.unit.models.literal import literal_blur, literal_hsv_affine

FUNCTION = TranslationFunction(TranslationConfig())


def random_params(size: tuple[int, int], spread: float, seed: int = 0) -> torch.Tensor:
    raw = spread * torch.randn(1, FUNCTION.num_params, *size, generator=torch.Generator().manual_seed(seed))
    return FUNCTION.bound(raw)


def random_bytes(size: tuple[int, int]) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(1)).float() / 255


def test_the_paper_has_twelve_params_and_a_window_of_25():
    assert FUNCTION.num_params == 12
    assert FUNCTION.radius == 12


@given(st.lists(st.floats(allow_nan=False), min_size=12, max_size=12))
def test_no_head_output_leaves_the_bounds(raw):
    params = FUNCTION.bound(torch.tensor(raw, dtype=torch.float32).view(1, 12, 1, 1)).flatten()
    low, high = torch.tensor(FUNCTION.low), torch.tensor(FUNCTION.high)
    assert ((params >= low - 1e-6) & (params <= high + 1e-6)).all()
    assert (params[6:] >= 0).all()


def test_identity_params_return_the_input_bytes():
    image = random_bytes((33, 17))
    identity = torch.tensor(FUNCTION.identity).view(1, -1, 1, 1).expand(1, -1, 33, 17)
    output = FUNCTION.apply(image, identity, torch.randn_like(image))
    assert torch.equal((output * 255).round(), (image * 255).round())


def test_strength_zero_is_the_identity_and_one_the_params():
    params = random_params((5, 4), 2.0)
    identity = torch.tensor(FUNCTION.identity).view(1, -1, 1, 1).expand_as(params)
    assert torch.equal(FUNCTION.with_strength(params, 0.0), identity)
    assert torch.allclose(FUNCTION.with_strength(params, 1.0), params)


def test_params_for_a_shrunk_image_do_to_it_what_the_params_do_to_the_whole():
    shrink = 4
    steps = torch.arange(96) // 24 % 2 * 0.4 + 0.3
    image = steps.expand(3, 96, 96)[None]
    params = torch.tensor((1, 1, 0.8, 0, 0, 0.1, 3, 3, 3, 0.08, 0.08, 0.08)).view(1, -1, 1, 1)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    low_noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    whole = F.avg_pool2d(FUNCTION.apply(image, params.expand(-1, -1, 96, 96), noise), shrink)
    low_params = FUNCTION.for_shrunk(params, torch.tensor([1 / shrink])).expand(-1, -1, 24, 24)
    low = FUNCTION.apply(F.avg_pool2d(image, shrink), low_params, low_noise)
    profiles = [picture.mean((0, 1, 2)) for picture in (whole, low)]
    assert (profiles[0] - profiles[1]).abs().max() < 0.02
    noises = [(picture - picture.mean(2, keepdim=True)).std().item() for picture in (whole, low)]
    assert noises[0] == pytest.approx(noises[1], rel=0.1)


def test_initial_params_are_close_to_the_identity():
    image = random_bytes((24, 24))
    params = FUNCTION.bound(torch.zeros(1, 12, 24, 24))
    output = FUNCTION.apply(image, params, torch.zeros_like(image))
    assert (255 * (output - image)).abs().max() < 4


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (20, 14)])
def test_agrees_with_the_literal_definition(size):
    image, params = random_bytes(size).double(), random_params(size, 1.5).double()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    colored = torch.empty_like(image)
    for y, x in np.ndindex(*size):
        column = params[0, :, y, x].numpy()
        colored[0, :, y, x] = torch.from_numpy(literal_hsv_affine(image[0, :, y, x].numpy(), column[:3], column[3:6]))
    expected = (literal_blur(colored, params[:, 6:9]) + params[:, 9:] * noise).clamp(0, 1)
    for dtype, tolerance in ((torch.float64, 0.01), (torch.float32, 0.02)):
        output = FUNCTION.apply(image.to(dtype), params.to(dtype), noise.to(dtype)).double()
        assert (255 * (output - expected)).abs().max() < tolerance


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 36), st.integers(0, 36))
def test_gradient_support_lies_inside_the_radius(seed, row, column):
    function = TranslationFunction(
        TranslationConfig(stages=(HsvAffineConfig(), GaussianBlurConfig(max_sigma=1.0), NoiseConfig()))
    )
    image = torch.rand(1, 3, 37, 37, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    raw = 2 * torch.randn(1, 12, 37, 37, generator=torch.Generator().manual_seed(seed + 1))
    output = function.apply(image, function.bound(raw), torch.zeros_like(image))
    output[0, :, row, column].sum().backward()
    reach = (image.grad[0].abs().amax(0).nonzero() - torch.tensor([row, column])).abs()
    assert function.radius == 4
    assert reach.numel() == 0 or reach.max() <= function.radius


def test_the_radius_is_the_sum_over_the_stages():
    stages = (GaussianBlurConfig(max_sigma=1.0), GaussianBlurConfig(max_sigma=0.5), NoiseConfig())
    assert TranslationFunction(TranslationConfig(stages=stages)).radius == 4 + 2


@pytest.mark.parametrize(
    ("low", "full"), [((6, 8), (24, 32)), ((96, 160), (131, 239)), ((5, 7), (3, 2)), ((4, 4), (1, 1))]
)
def test_upsampling_is_bilinear(low, full):
    params = torch.rand(2, 12, *low, dtype=torch.float64)
    expected = F.interpolate(params, full, mode="bilinear", align_corners=False)
    assert torch.allclose(upsample_params(params, full), expected, atol=1e-12)


def test_a_window_equals_the_whole_to_the_last_bit():
    params = torch.rand(1, 12, 13, 9)
    whole = upsample_params(params, (101, 67))
    assert torch.equal(upsample_params(params, (101, 67), (40, 11, 30, 25)), whole[..., 40:70, 11:36])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_windows_of_a_batch_equal_that_of_each_image_but_for_rounding(dtype):
    params = torch.rand(4, 12, 13, 9, dtype=dtype, generator=torch.Generator().manual_seed(3))
    sizes, corners, patch = [(101, 67), (40, 70), (30, 25), (500, 25)], [(71, 42), (0, 45), (0, 0), (233, 0)], (30, 25)
    patches = upsample_patches(params, torch.tensor(sizes), torch.tensor(corners), patch)
    for image, size, corner, found in zip(params.split(1), sizes, corners, patches, strict=True):
        expected = upsample_params(image, size, (*corner, *patch))[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_the_gradient_of_windows_is_that_of_each_image():
    params = torch.rand(2, 3, 5, 6, dtype=torch.float64).requires_grad_()
    sizes, corners, patch = [(20, 24), (11, 13)], [(3, 9), (1, 2)], (8, 10)
    weights = torch.rand(2, 3, *patch, dtype=torch.float64)
    patches = upsample_patches(params, torch.tensor(sizes), torch.tensor(corners), patch)
    windows = [
        upsample_params(one, size, (*corner, *patch))
        for one, size, corner in zip(params.split(1), sizes, corners, strict=True)
    ]
    found, expected = (torch.autograd.grad((weights * part).sum(), params)[0] for part in (patches, torch.cat(windows)))
    torch.testing.assert_close(found, expected)


def test_what_an_image_draws_adds_to_the_params_as_variances_do():
    blur = GaussianBlurConfig(max_sigma=1.5, drawn_sigma=(0.2, 1.0))
    function = TranslationFunction(TranslationConfig(stages=(GammaConfig(), blur, NoiseConfig())))
    params = function.bound(torch.randn(64, function.num_params, 2, 3, generator=torch.Generator().manual_seed(0)))
    seeds = torch.arange(64)
    found = function.with_drawn(params, seeds)
    blurs = function.names.index("sigma_red")
    others = [number for number in range(function.num_params) if not blurs <= number < blurs + 3]
    assert torch.equal(found[:, others], params[:, others])
    drawn = found[:, blurs : blurs + 3].square() - params[:, blurs : blurs + 3].square()
    free = (found[:, blurs : blurs + 3] < 1.5).all((1, 2, 3))
    sigmas = drawn[free].sqrt()
    assert (sigmas.amax((1, 2, 3)) - sigmas.amin((1, 2, 3))).max() < 1e-3
    assert 0.2 <= sigmas.min() < 0.35
    assert 0.85 < sigmas.max() <= 1.0
    assert found[:, blurs].max() <= 1.5
    assert torch.equal(function.with_drawn(params[5:6], seeds[5:6]), found[5:6])
