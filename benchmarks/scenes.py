"""Inputs that all benchmarks share."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.config import GaussianBlurConfig, HsvAffineConfig, NoiseConfig, TranslationConfig
from dakpn.models.function.translation import TranslationFunction
from dakpn.scenes import render_scene

GTA5 = (1052, 1914)
"""Height and width of a GTA5 image."""
PREDICTION = (96, 160)


@cache
def image(size: tuple[int, int] = GTA5) -> NDArray[np.uint8]:
    """A rendered road scene with a little noise, so that codecs meet realistic content."""
    scene = render_scene(7, size).image
    grain = np.random.default_rng(0).normal(0, 2, scene.shape)
    return (scene + grain).clip(0, 255).astype(np.uint8)


def function(max_sigma: float) -> TranslationFunction:
    """The paper's stages with this bound on sigma."""
    stages = (HsvAffineConfig(), GaussianBlurConfig(max_sigma=max_sigma), NoiseConfig())
    return TranslationFunction(TranslationConfig(stages=stages))


def params(max_sigma: float, size: tuple[int, int] = PREDICTION) -> Tensor:
    """Params that vary from pixel to pixel, with sigmas over the whole range up to `max_sigma`."""
    raw = torch.randn(1, 12, *size, generator=torch.Generator().manual_seed(0))
    bounded = function(max_sigma).bound(raw)
    bounded[:, 6:9] = max_sigma * torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    return bounded
