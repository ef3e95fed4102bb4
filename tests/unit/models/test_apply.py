"""Whole images: every size, both forms, no seams, bounded memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dakpn.config import (
    GaussianBlurConfig,
    HsvAffineConfig,
    LabAffineConfig,
    NoiseConfig,
    SymmetricKernelConfig,
    TranslationConfig,
)
from dakpn.models.function.apply import can_fuse, translate_fused, translate_image, translate_tiled
from dakpn.models.function.noise import keyed_noise, noise_seed
from dakpn.models.function.translation import TranslationFunction, upsample_params

SIZES = [(1, 1), (7, 3), (1, 40), (61, 83), (131, 273)]
SEED = noise_seed("image")


def function_with(max_sigma: float = 3.0, *, styled: bool = False) -> TranslationFunction:
    stages = (HsvAffineConfig(hue_gain=0.2), GaussianBlurConfig(max_sigma=max_sigma), NoiseConfig())
    style = (LabAffineConfig(max_bias=1.0),) if styled else ()
    return TranslationFunction(TranslationConfig(stages=(*style, *stages)))


def random_image(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    image[: size[0] // 4] = image[: size[0] // 4, :, :1]  # grey, where the hue is undefined
    return image


def random_params(function: TranslationFunction, *, noisy: bool, low: tuple[int, int] = (5, 8), seed: int = 0):
    raw = 2 * torch.randn(1, function.num_params, *low, generator=torch.Generator().manual_seed(seed))
    params = function.bound(raw)
    if not noisy:
        params[:, -3:] = 0
    return params


def float64_reference(function: TranslationFunction, image: np.ndarray, params: torch.Tensor) -> np.ndarray:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
    theta = upsample_params(params.double(), image.shape[:2])
    return 255 * function.apply(pixels, theta, torch.zeros_like(pixels))[0].permute(1, 2, 0).numpy()


with_and_without_style = pytest.mark.parametrize("styled", [False, True], ids=["paper", "styled"])


@with_and_without_style
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("max_sigma", [1.0, 3.0, 8.0])
def test_both_forms_are_within_half_a_grey_level_of_float64(size, max_sigma, styled):
    function = function_with(max_sigma, styled=styled)
    image, params = random_image(size), random_params(function, noisy=False)
    reference = float64_reference(function, image, params)
    for form in (translate_fused(function, image, params, SEED), translate_tiled(function, image, params, SEED)):
        assert np.abs(form - reference).max() < 0.51


def test_both_forms_add_the_same_noise():
    function = function_with()
    image, params = random_image((40, 50)), random_params(function, noisy=True)
    fused, torch_form = translate_fused(function, image, params, SEED), translate_tiled(function, image, params, SEED)
    assert np.abs(fused.astype(int) - torch_form).max() <= 1
    assert np.mean(fused != torch_form) < 0.01


def test_noise_is_that_of_the_key():
    image = np.full((64, 64, 3), 128, np.uint8)
    function = function_with()
    identity = torch.tensor(function.identity).view(1, -1, 1, 1)
    identity[:, -3:] = 0.1
    change = (translate_fused(function, image, identity, SEED).astype(float) - 128) / 25.5
    assert np.abs(change - keyed_noise(SEED, (64, 64)).permute(1, 2, 0).numpy()).max() < 0.05


@with_and_without_style
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 2000), st.integers(1, 3), st.integers(0, 1000))
def test_tiles_bands_and_threads_do_not_change_a_bit(styled, height, width, max_pixels, threads, seed):
    function = function_with(styled=styled)
    image, params = random_image((height, width), seed), random_params(function, noisy=True, seed=seed)
    whole = translate_fused(function, image, params, SEED)
    banded = translate_fused(function, image, params, SEED, max_pixels_in_flight=max_pixels, threads=threads)
    assert np.array_equal(banded, whole)
    untiled = translate_tiled(function, image, params, SEED)
    assert np.array_equal(translate_tiled(function, image, params, SEED, max_pixels_in_flight=max_pixels), untiled)


@pytest.mark.parametrize("threads", [1, 2])
def test_images_of_many_blocks_and_strips_come_out_the_same_band_by_band(threads):
    function = function_with(8.0)
    image, params = random_image((151, 531)), random_params(function, noisy=True, low=(12, 40))
    whole = translate_fused(function, image, params, SEED)
    for max_pixels in (531 * 17, 531 * 64, 531 * 101):
        banded = translate_fused(function, image, params, SEED, max_pixels_in_flight=max_pixels, threads=threads)
        assert np.array_equal(banded, whole)
    reference = float64_reference(function, image, params)
    params[:, -3:] = 0
    assert np.abs(translate_fused(function, image, params, SEED) - reference).max() < 0.51


def test_wide_images_are_tiled_in_both_directions_without_seams():
    function = function_with(1.0)
    image, params = random_image((40, 4200)), random_params(function, noisy=True)
    tiled = translate_tiled(function, image, params, SEED, max_pixels_in_flight=50_000)
    assert np.mean(tiled != translate_fused(function, image, params, SEED)) < 0.01


@with_and_without_style
@pytest.mark.parametrize("form", ["fused", "tiled"])
def test_identity_params_return_the_bytes_of_every_color(form, styled):
    function = function_with(styled=styled)
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    identity = torch.tensor(function.identity).view(1, -1, 1, 1).expand(1, -1, 3, 4).contiguous()
    output = (
        translate_fused(function, image, identity, SEED)
        if form == "fused"
        else translate_tiled(function, image, identity, SEED)
    )
    assert np.array_equal(output, image)


@with_and_without_style
def test_strength_zero_returns_the_bytes(styled):
    function = function_with(styled=styled)
    image, params = random_image((33, 47)), random_params(function, noisy=True)
    assert np.array_equal(translate_image(function, image, function.with_strength(params, 0.0), SEED), image)


def test_no_translation_moves_a_delta():
    function = function_with(8.0)
    for seed in range(5):
        params = random_params(function, noisy=False, seed=seed)
        params[:, :6] = torch.tensor(function.identity[:6]).view(-1, 1, 1)
        image = np.zeros((41, 41, 3), np.uint8)
        image[20, 20] = 255
        output = translate_image(function, image, params, SEED).sum(-1).astype(int)
        assert output[20, 20] == output.max()
        reached = np.argwhere(output > 0) - 20
        assert np.abs(reached).max() <= function.radius


def test_other_stages_fall_back_to_the_torch_form():
    stages = (GaussianBlurConfig(max_sigma=1.0), HsvAffineConfig(), SymmetricKernelConfig())
    function = TranslationFunction(TranslationConfig(stages=stages))
    assert not can_fuse(function)
    image, params = random_image((20, 30)), random_params(function, noisy=True)
    reference = float64_reference(function, image, params)
    assert np.abs(translate_image(function, image, params, SEED) - reference).max() < 0.51


def test_memory_is_bounded_by_the_pixels_in_flight():
    function = function_with()
    image, params = random_image((2000, 1000)), random_params(function, noisy=True)
    translate_fused(function, image[:16], params, SEED)
    tracemalloc.start()
    translate_fused(function, image, params, SEED, max_pixels_in_flight=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes + 12e6
