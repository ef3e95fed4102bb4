"""Fused and torch form give the same image at full size: on rendered and photographed content, and extreme colors."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from dakpn.config import GaussianBlurConfig, HsvAffineConfig, LabAffineConfig, NoiseConfig, TranslationConfig
from dakpn.images import codec
from dakpn.models.function.apply import translate_fused
from dakpn.models.function.stages import LabAffine
from dakpn.models.function.translation import TranslationFunction, upsample_params
from dakpn.scenes import photograph, render_scene
from tests.paths import SHARED_DATA
from tests.recipes import RECIPES, recipe_function

GTA5 = (1052, 1914)
LOW = (96, 160)
TOLERANCE = 0.51
"""Grey levels: half a one is rounding to bytes."""


@cache
def rendered(number: int = 7) -> np.ndarray:
    """A scene of a quarter of the height and width, mirrored: rendering the whole takes five seconds."""
    return mirrored(render_scene(number, (GTA5[0] // 4, GTA5[1] // 4)).image)


@cache
def extreme() -> np.ndarray:
    """Every grey, pure and dark colors, and reds on both sides of where the hue comes round."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*GTA5, 3), dtype=np.uint8)
    image[:300] = image[:300, :, :1]
    image[300:500] = rng.choice(np.array([0, 1, 254, 255], np.uint8), (200, GTA5[1], 3))
    image[500:600] //= 64
    image[600:700, :, 0] = 255
    image[600:700, :, 2] = image[600:700, :, 1] + rng.integers(-1, 2, (100, GTA5[1]))
    return image


def mirrored(image: np.ndarray) -> np.ndarray:
    """An image repeated until it has the full size."""
    pads = [(0, max(full - side, 0)) for full, side in zip(GTA5, image.shape, strict=False)]
    return np.pad(image, (*pads, (0, 0)), mode="symmetric")[: GTA5[0], : GTA5[1]]


def photographed() -> np.ndarray:
    if SHARED_DATA is None:
        pytest.skip("the real CamVid images are not on this machine")
    path = min((SHARED_DATA / "camvid" / "images").rglob("*.*"))
    return mirrored(codec.decode_image(path.read_bytes(), str(path)))


def params_of(function: TranslationFunction, bias: float = 1.0) -> torch.Tensor:
    """Params over the whole of their bounds, without noise; biases of a LabAffine stage up to `bias`."""
    params = function.bound(2 * torch.randn(1, function.num_params, *LOW, generator=torch.Generator().manual_seed(1)))
    first = 0
    for stage in function.stages:
        if isinstance(stage, LabAffine):
            params[:, first + 3 : first + 6] *= bias / stage.high[3]
        first += len(stage.names)
    params[:, [name.startswith("noise") for name in function.names]] = 0
    return params


def gap(function: TranslationFunction, image: np.ndarray, params: torch.Tensor) -> float:
    """The most grey levels between the fused form's bytes and the torch form's numbers before rounding."""
    fused = torch.from_numpy(translate_fused(function, image, params, 0)).permute(2, 0, 1)
    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float().div(255)
        upsampled = upsample_params(params, image.shape[:2])
        return float((function.apply(pixels, upsampled, torch.zeros(()))[0].mul_(255) - fused).abs().max())


def function_of(*stages) -> TranslationFunction:
    return TranslationFunction(TranslationConfig(stages=stages))


def different_recipes() -> list[list[Path]]:
    """The shipped recipes, those with the same stages and bounds together."""
    groups: dict[tuple, list[Path]] = {}
    for path in RECIPES:
        function = recipe_function(path)
        groups.setdefault((function.names, function.low, function.high), []).append(path)
    return list(groups.values())


def recipe(name: str) -> TranslationFunction:
    (path,) = (path for path in RECIPES if path.stem == name)
    return recipe_function(path)


@pytest.mark.parametrize("content", [rendered, extreme, photographed])
def test_the_shipped_recipe(content) -> None:
    function = recipe("gta5_cityscapes")
    assert gap(function, content(), params_of(function)) < TOLERANCE


def test_colors_computed_by_one_stage_and_turned_by_the_next() -> None:
    function = function_of(LabAffineConfig(), HsvAffineConfig(), GaussianBlurConfig(max_sigma=0.8))
    assert gap(function, extreme(), params_of(function)) < TOLERANCE


def test_colors_far_brighter_than_any_screen() -> None:
    function = function_of(LabAffineConfig(), HsvAffineConfig(), NoiseConfig())
    params = params_of(function, bias=15.0)
    assert gap(function, extreme(), params) < TOLERANCE + 0.1  # the cones differ by many powers of ten
    with torch.inference_mode():
        pixels = torch.from_numpy(extreme()[:64]).permute(2, 0, 1)[None].float().div(255)
        assert bool(function.apply(pixels, upsample_params(params, pixels.shape[-2:]), pixels).isfinite().all())


def test_greys_that_a_stage_before_left_almost_grey() -> None:
    function = function_of(LabAffineConfig(), HsvAffineConfig())
    image = np.repeat(extreme()[:300, :, :1], 3, 2)
    for bias in (0.0, 1e-6, 1e-5, 1e-4, 1e-3):
        params = params_of(function, bias)
        params[:, :3] = 1
        assert gap(function, image, params) < TOLERANCE + 0.1, bias  # a chroma's last bit is 256 times as large in it


@pytest.mark.slow
@pytest.mark.parametrize("paths", different_recipes(), ids=lambda paths: "+".join(path.stem for path in paths))
def test_every_shipped_recipe(paths: list[Path]) -> None:
    function = recipe_function(paths[0])
    params = params_of(function)
    for image in (render_scene(3, GTA5).image, mirrored(photograph(5, (526, 957)).image), extreme()):
        assert gap(function, image, params) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("paths", different_recipes(), ids=lambda paths: "+".join(path.stem for path in paths))
def test_every_shipped_recipe_on_a_photograph(paths: list[Path]) -> None:
    function = recipe_function(paths[0])
    assert gap(function, photographed(), params_of(function)) < TOLERANCE
