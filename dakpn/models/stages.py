"""The stages of the translation function: small objects that declare their params, bounds and radius.

A stage maps the head's raw, unbounded output to params inside its bounds (`bound`) and applies params to an image
(`apply`). Raw zeros give the params the head starts from. No raw value can leave the bounds.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from dakpn.config import GaussianBlurConfig, HsvAffineConfig, NoiseConfig, StageConfig
from dakpn.models.blur import gaussian_blur, window_radius
from dakpn.models.color import hsv_to_rgb, rgb_to_hsv


class Stage(Protocol):
    """One local function with per-pixel params.

    Attributes:
        names: one name per param, in channel order.
        identity: the params that change nothing.
        low, high: inclusive bounds of each param.
        radius: pixels to each side of p that output pixel p depends on.
    """

    names: tuple[str, ...]
    identity: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    radius: int

    def bound(self, raw: Tensor) -> Tensor:
        """Params [B, P, H, W] inside the bounds for any raw head output [B, P, H, W]."""
        ...

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """The image [B, 3, H, W] after this stage; `noise` is standard normal, of the image's shape."""
        ...


class HsvAffine:
    """`hsv' = gain * hsv + bias`; hue wraps, saturation and value are clamped to 0..1."""

    names = ("hue_gain", "saturation_gain", "value_gain", "hue_shift", "saturation_bias", "value_bias")
    identity = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    radius = 0

    def __init__(self, config: HsvAffineConfig) -> None:
        reach = (config.hue_gain, config.saturation_gain, config.value_gain)
        reach += (config.hue_shift, config.saturation_bias, config.value_bias)
        self._reach = reach
        self.low = tuple(centre - half for centre, half in zip(self.identity, reach, strict=True))
        self.high = tuple(centre + half for centre, half in zip(self.identity, reach, strict=True))

    def bound(self, raw: Tensor) -> Tensor:
        """Tanh around the identity."""
        return _channels(self.identity, raw) + _channels(self._reach, raw) * torch.tanh(raw)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Affine in HSV."""
        gain, bias = params[:, :3], params[:, 3:]
        hsv = gain * rgb_to_hsv(image) + bias
        return hsv_to_rgb(torch.cat((hsv[:, :1], hsv[:, 1:].clamp(0, 1)), 1))


class GaussianBlur:
    """A Gaussian of its own for each pixel and RGB channel; sigma 0 is the identity."""

    names = ("sigma_red", "sigma_green", "sigma_blue")
    identity = (0.0, 0.0, 0.0)
    low = (0.0, 0.0, 0.0)

    def __init__(self, config: GaussianBlurConfig) -> None:
        self.high = (config.max_sigma,) * 3
        self.radius = window_radius(config.max_sigma)
        self._initial = _logit(config.initial_sigma / config.max_sigma)

    def bound(self, raw: Tensor) -> Tensor:
        """Sigmoid between 0 and the largest sigma, starting at the initial one."""
        return self.high[0] * torch.sigmoid(raw + self._initial)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Exact spatially varying blur."""
        return gaussian_blur(image, params)


class Noise:
    """Additive normal noise with a scale of its own for each pixel and RGB channel."""

    names = ("noise_red", "noise_green", "noise_blue")
    identity = (0.0, 0.0, 0.0)
    low = (0.0, 0.0, 0.0)
    radius = 0

    def __init__(self, config: NoiseConfig) -> None:
        self.high = (config.max_scale,) * 3
        self._initial = _logit(config.initial_scale / config.max_scale)

    def bound(self, raw: Tensor) -> Tensor:
        """Sigmoid between 0 and the largest scale, starting at the initial one."""
        return self.high[0] * torch.sigmoid(raw + self._initial)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Scaled noise on top."""
        return torch.addcmul(image, params, noise)


_STAGES = {HsvAffineConfig: HsvAffine, GaussianBlurConfig: GaussianBlur, NoiseConfig: Noise}


def build_stage(config: StageConfig) -> Stage:
    """The stage that a config describes."""
    return _STAGES[type(config)](config)


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)


def _logit(fraction: float) -> float:
    return math.log(fraction / (1 - fraction))
