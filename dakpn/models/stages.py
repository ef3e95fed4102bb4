"""The stages of the translation function: small objects that declare their params, bounds and radius.

A stage maps the head's raw, unbounded output to params inside its bounds (`bound`) and applies params to an image
(`apply`). Raw zeros give the params the head starts from. No raw value can leave the bounds.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dakpn.config import (
    GammaConfig,
    GaussianBlurConfig,
    HsvAffineConfig,
    NoiseConfig,
    RgbAffineConfig,
    StageConfig,
    SymmetricKernelConfig,
)
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
        return channel_values(self.identity, raw) + channel_values(self._reach, raw) * torch.tanh(raw)

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


class RgbAffine:
    """`rgb' = gain * rgb + bias`; clamped to 0..1 at the end of the translation."""

    names = ("red_gain", "green_gain", "blue_gain", "red_bias", "green_bias", "blue_bias")
    identity = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    radius = 0

    def __init__(self, config: RgbAffineConfig) -> None:
        self._reach = (config.gain,) * 3 + (config.bias,) * 3
        self.low = tuple(centre - half for centre, half in zip(self.identity, self._reach, strict=True))
        self.high = tuple(centre + half for centre, half in zip(self.identity, self._reach, strict=True))

    def bound(self, raw: Tensor) -> Tensor:
        """Tanh around the identity."""
        return channel_values(self.identity, raw) + channel_values(self._reach, raw) * torch.tanh(raw)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Affine in RGB."""
        return torch.addcmul(params[:, 3:], params[:, :3], image)


class Gamma:
    """`rgb' = rgb ^ gamma` for each channel; identity 1."""

    names = ("gamma_red", "gamma_green", "gamma_blue")
    identity = (1.0, 1.0, 1.0)
    radius = 0
    _DARKEST = 1e-3
    """Below it the curve is a straight line, so that its slope stays finite at black."""

    def __init__(self, config: GammaConfig) -> None:
        self._reach = math.log(config.max_gamma)
        self.low = (1 / config.max_gamma,) * 3
        self.high = (config.max_gamma,) * 3

    def bound(self, raw: Tensor) -> Tensor:
        """Between 1 / max_gamma and max_gamma, even in the logarithm."""
        return torch.exp(self._reach * torch.tanh(raw))

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Power law on non-negative values."""
        image = image.clamp(min=0)
        return image * image.clamp(min=self._DARKEST).pow(params - 1)


class SymmetricKernel:
    """A predicted kernel shared by the channels: `y(p) = (x(p) + sum_d w_d (x(p+d) + x(p-d))) / (1 + 2 sum_d w_d)`.

    A free k x k kernel could shift the image and break labels. This one has one weight in 0..1 for each pair of
    opposite neighbours; the centre's is 1.
    """

    def __init__(self, config: SymmetricKernelConfig) -> None:
        self.radius = config.size // 2
        sides = range(-self.radius, self.radius + 1)
        self._offsets = [(dy, dx) for dy in sides for dx in sides if (dy, dx) > (0, 0)]
        self.names = tuple(f"weight_{dy:+d}_{dx:+d}" for dy, dx in self._offsets)
        self.identity = (0.0,) * len(self._offsets)
        self.low, self.high = self.identity, (1.0,) * len(self._offsets)
        self._initial = _logit(config.initial_weight)

    def bound(self, raw: Tensor) -> Tensor:
        """Sigmoid, starting at the initial weight."""
        return torch.sigmoid(raw + self._initial)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Normalised sum over the window, edges replicated."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (self.radius,) * 4, mode="replicate")

        def shifted(dy: int, dx: int) -> Tensor:
            top, left = self.radius + dy, self.radius + dx
            return padded[..., top : top + height, left : left + width]

        total = image
        for weight, (dy, dx) in zip(params.split(1, 1), self._offsets, strict=True):
            total = total + weight * (shifted(dy, dx) + shifted(-dy, -dx))
        return total / (1 + 2 * params.sum(1, keepdim=True))


_STAGES = {
    HsvAffineConfig: HsvAffine,
    GaussianBlurConfig: GaussianBlur,
    NoiseConfig: Noise,
    RgbAffineConfig: RgbAffine,
    GammaConfig: Gamma,
    SymmetricKernelConfig: SymmetricKernel,
}


def build_stage(config: StageConfig) -> Stage:
    """The stage that a config describes."""
    return _STAGES[type(config)](config)


def channel_values(values: tuple[float, ...], like: Tensor) -> Tensor:
    """One value a channel, [P, 1, 1], filled on the device: a copy from the host would make it wait."""
    return torch.cat([like.new_full((1, 1, 1), value) for value in values])


def _logit(fraction: float) -> float:
    return math.log(fraction / (1 - fraction))
