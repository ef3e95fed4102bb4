"""Fused kernels for whatever list of stages: what they compute, and what they say of a list that they cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dakpn.config import (
    GammaConfig,
    GaussianBlurConfig,
    HsvAffineConfig,
    LabAffineConfig,
    NoiseConfig,
    RgbAffineConfig,
    StageConfig,
    SymmetricKernelConfig,
    TranslationConfig,
)
from dakpn.models.function.apply import can_fuse, translate_fused, translate_tiled
from dakpn.models.function.fused_plan import why_not_fused
from dakpn.models.function.noise import keyed_noise, noise_seed
from dakpn.models.function.translation import TranslationFunction, upsample_params
from tests.recipes import RECIPES, recipe_function

SEED = noise_seed("image")
LAB, HSV, RGB = LabAffineConfig(max_bias=1.0), HsvAffineConfig(), RgbAffineConfig()
GAMMA, NOISE = GammaConfig(), NoiseConfig()
BLUR, WIDE, KERNEL = GaussianBlurConfig(max_sigma=0.8), GaussianBlurConfig(max_sigma=8.0), SymmetricKernelConfig(size=7)
LISTS = {
    "shipped": (LAB, BLUR, NOISE),
    "no colors": (WIDE, NOISE),
    "no blur": (LAB, GAMMA, NOISE),
    "noise alone": (NOISE,),
    "all colors": (GAMMA, RGB, LAB, HSV, BLUR, NOISE),
    "one twice": (LAB, LAB, RGB, RGB, WIDE),
    "colors behind": (BLUR, NOISE, GAMMA, LAB),
    "colors around": (RGB, BLUR, HSV, NOISE),
    "noise first": (NOISE, HSV, BLUR),
    "noise twice": (NOISE, BLUR, NOISE),
    "kernel": (RGB, KERNEL, NOISE),
    "kernel alone": (SymmetricKernelConfig(size=3),),
}
every_list = pytest.mark.parametrize("stages", LISTS.values(), ids=LISTS.keys())


def function_of(stages: tuple[StageConfig, ...]) -> TranslationFunction:
    return TranslationFunction(TranslationConfig(stages=stages))


def random_image(size: tuple[int, int]) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image[: size[0] // 4] = image[: size[0] // 4, :, :1]
    return image


def random_params(function: TranslationFunction, low: tuple[int, int] = (5, 8)) -> torch.Tensor:
    return function.bound(2 * torch.randn(1, function.num_params, *low, generator=torch.Generator().manual_seed(0)))


@every_list
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (1, 40), (61, 83), (70, 1100)])
def test_the_fused_form_is_within_half_a_grey_level_of_float64(stages, size) -> None:
    function = function_of(stages)
    image, params = random_image(size), random_params(function)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
    noise = keyed_noise(SEED, size)[None].double()
    expected = 255 * function.apply(pixels, upsample_params(params.double(), size), noise)[0].permute(1, 2, 0).numpy()
    assert np.abs(translate_fused(function, image, params, SEED) - expected).max() < 0.51


@every_list
def test_bands_and_threads_do_not_change_a_bit(stages) -> None:
    function = function_of(stages)
    image, params = random_image((83, 1100)), random_params(function)
    whole = translate_fused(function, image, params, SEED)
    for rows, threads in ((16, 1), (17, 3), (64, 2), (83, 3)):
        banded = translate_fused(function, image, params, SEED, max_pixels_in_flight=1100 * rows, threads=threads)
        assert np.array_equal(banded, whole)


@every_list
def test_identity_params_return_the_bytes(stages) -> None:
    function = function_of(stages)
    identity = torch.tensor(function.identity).view(1, -1, 1, 1).expand(1, -1, 3, 4).contiguous()
    image = random_image((60, 70))
    assert np.array_equal(translate_fused(function, image, identity, SEED), image)
    assert np.array_equal(translate_tiled(function, image, identity, SEED), image)


def test_a_sigma_at_its_bound_reads_nothing_outside_of_the_band() -> None:
    function = function_of(
        (GaussianBlurConfig(max_sigma=0.75),)
    )  # 4 sigmas are 3 pixels, and a rounding error a fourth
    image = random_image((64, 50))
    params = torch.full((1, 3, 2, 2), float(np.nextafter(np.float32(0.75), np.float32(1))))
    whole = translate_fused(function, image, params, SEED)
    assert np.array_equal(translate_fused(function, image, params, SEED, max_pixels_in_flight=50 * 16), whole)


@pytest.mark.parametrize(
    ("stages", "words"),
    [((BLUR, KERNEL, NOISE), "2 stages look at a pixel's surroundings .GaussianBlur, SymmetricKernel.")],
)
def test_a_list_that_cannot_be_fused_says_why(stages, words) -> None:
    function = function_of(stages)
    assert not can_fuse(function)
    with pytest.raises(RuntimeError, match=words):
        translate_fused(function, random_image((8, 8)), random_params(function), SEED)


def test_an_unknown_stage_says_its_name() -> None:
    class Posterize(type(function_of((GAMMA,)).stages[0])):
        pass

    function = function_of((GAMMA,))
    function.stages = (Posterize(GAMMA),)
    assert why_not_fused(function) == "there is no kernel for the stage Posterize"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_fused(recipe: Path) -> None:
    assert why_not_fused(recipe_function(recipe)) is None
