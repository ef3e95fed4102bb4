"""Stages that recolor a pixel by itself: their radius is 0."""

import math

import torch
from torch import Tensor

from dakpn.config import GammaConfig, HsvAffineConfig, LabAffineConfig, RgbAffineConfig
from dakpn.models.function.color import (
    FAINTEST_CHROMA,
    GREY_CHROMA,
    LAST_HUES,
    channel_values,
    hsv_to_rgb,
    lab_to_rgb,
    rgb_to_hsv,
    rgb_to_lab,
)


class HsvAffine:
    """`hsv' = gain * hsv + bias`; hue wraps, saturation and value are clamped to 0..1.

    Departures from the paper's formula, which leaps where a color has no hue and where the hue comes round, so that
    rounding decided what became of a color computed by a stage before: below `FAINTEST_CHROMA` the saturation fades to
    0, and within `LAST_HUES` the hue's gain fades to 1. No color in 8 bits lies there but grey, which stays grey.
    """

    names = ("hue_gain", "saturation_gain", "value_gain", "hue_shift", "saturation_bias", "value_bias")
    identity = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    radius = 0
    shrinks = False
    drawn = None

    def __init__(self, config: HsvAffineConfig) -> None:
        reach = (config.hue_gain, config.saturation_gain, config.value_gain)
        reach += (config.hue_shift, config.saturation_bias, config.value_bias)
        self._reach = reach
        self.low = tuple(center - half for center, half in zip(self.identity, reach, strict=True))
        self.high = tuple(center + half for center, half in zip(self.identity, reach, strict=True))

    def bound(self, raw: Tensor) -> Tensor:
        """Tanh around the identity."""
        return channel_values(self.identity, raw) + channel_values(self._reach, raw) * torch.tanh(raw)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Apply the affine in HSV."""
        gain, bias = params[:, :3], params[:, 3:]
        hue, saturation, value = rgb_to_hsv(image.clamp(0, 1)).split(1, 1)
        presence = ((saturation * value - GREY_CHROMA) / FAINTEST_CHROMA).clamp(0, 1)
        turned = torch.minimum(hue, (1 - hue) * (1 / LAST_HUES - 1))
        hue = hue + (gain[:, :1] - 1) * turned + bias[:, :1]
        others = torch.addcmul(bias[:, 1:], gain[:, 1:], torch.cat((saturation, value), 1))
        saturation, value = others.split(1, 1)
        return hsv_to_rgb(torch.cat((hue, (presence * saturation).clamp(0, 1), value.clamp(0, 1)), 1))


class RgbAffine:
    """`rgb' = gain * rgb + bias`; clamped to 0..1 at the end of the translation."""

    names = ("red_gain", "green_gain", "blue_gain", "red_bias", "green_bias", "blue_bias")
    identity = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    radius = 0
    shrinks = False
    drawn = None

    def __init__(self, config: RgbAffineConfig) -> None:
        self._reach = (config.gain,) * 3 + (config.bias,) * 3
        self.low = tuple(center - half for center, half in zip(self.identity, self._reach, strict=True))
        self.high = tuple(center + half for center, half in zip(self.identity, self._reach, strict=True))

    def bound(self, raw: Tensor) -> Tensor:
        """Tanh around the identity."""
        return channel_values(self.identity, raw) + channel_values(self._reach, raw) * torch.tanh(raw)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Apply the affine in RGB."""
        return torch.addcmul(params[:, 3:], params[:, :3], image)


class LabAffine:
    """`lab' = gain * lab + bias` in l-alpha-beta, clamped to 0..1 in RGB.

    Matching a picture's color moments to another's is such an affine, so that a style is a choice of its params.

    Source: Reinhard et al., "Color Transfer between Images", 2001.
    """

    names = ("l_gain", "alpha_gain", "beta_gain", "l_bias", "alpha_bias", "beta_bias")
    identity = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    radius = 0
    shrinks = False
    drawn = None

    def __init__(self, config: LabAffineConfig) -> None:
        self._log_gain, self._bias = math.log(config.max_gain), config.max_bias
        self.low = (1 / config.max_gain,) * 3 + (-config.max_bias,) * 3
        self.high = (config.max_gain,) * 3 + (config.max_bias,) * 3

    def bound(self, raw: Tensor) -> Tensor:
        """Gains between 1 / max_gain and max_gain, even in the logarithm; biases by tanh around 0."""
        squashed = torch.tanh(raw)
        return torch.cat((torch.exp(self._log_gain * squashed[:, :3]), self._bias * squashed[:, 3:]), 1)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Apply the affine in l-alpha-beta."""
        return lab_to_rgb(torch.addcmul(params[:, 3:], params[:, :3], rgb_to_lab(image.clamp(0, 1)))).clamp(0, 1)


class Gamma:
    """`rgb' = rgb ^ gamma` for each channel; identity 1."""

    names = ("gamma_red", "gamma_green", "gamma_blue")
    identity = (1.0, 1.0, 1.0)
    radius = 0
    shrinks = False
    drawn = None
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
        """Apply the power law to non-negative values."""
        image = image.clamp(min=0)
        return image * image.clamp(min=self._DARKEST).pow(params - 1)
