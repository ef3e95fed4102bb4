"""Stages that look at a pixel's surroundings, or add noise to it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dakpn.config import GaussianBlurConfig, NoiseConfig, SymmetricKernelConfig
from dakpn.models.function.blur import gaussian_blur, window_radius
from dakpn.models.function.stages.stage import logit


class GaussianBlur:
    """A Gaussian of its own for each pixel and RGB channel; sigma 0 is the identity."""

    names = ("sigma_red", "sigma_green", "sigma_blue")
    identity = (0.0, 0.0, 0.0)
    low = (0.0, 0.0, 0.0)
    shrinks = True

    def __init__(self, config: GaussianBlurConfig) -> None:
        self.high = (config.max_sigma,) * 3
        self.radius = window_radius(config.max_sigma)
        self.drawn = config.drawn_sigma if config.drawn_sigma[1] > 0 else None
        self._initial = logit(config.initial_sigma / config.max_sigma)

    def bound(self, raw: Tensor) -> Tensor:
        """Sigmoid between 0 and the largest sigma, starting at the initial one."""
        return self.high[0] * torch.sigmoid(raw + self._initial)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Apply the exact, spatially varying blur."""
        return gaussian_blur(image, params, self.high[0])


class SymmetricKernel:
    """A predicted kernel shared by the channels: `y(p) = (x(p) + sum_d w_d (x(p+d) + x(p-d))) / (1 + 2 sum_d w_d)`.

    A free k x k kernel could shift the image and break labels. This one has one weight in 0..1 for each pair of
    opposite neighbors; the center's is 1.
    """

    shrinks = True
    drawn = None

    def __init__(self, config: SymmetricKernelConfig) -> None:
        self.radius = config.size // 2
        sides = range(-self.radius, self.radius + 1)
        self._offsets = [(dy, dx) for dy in sides for dx in sides if (dy, dx) > (0, 0)]
        self.names = tuple(f"weight_{dy:+d}_{dx:+d}" for dy, dx in self._offsets)
        self.identity = (0.0,) * len(self._offsets)
        self.low, self.high = self.identity, (1.0,) * len(self._offsets)
        self._initial = logit(config.initial_weight)

    def bound(self, raw: Tensor) -> Tensor:
        """Sigmoid, starting at the initial weight."""
        return torch.sigmoid(raw + self._initial)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Normalized sum over the window, edges replicated."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (self.radius,) * 4, mode="replicate")

        def shifted(dy: int, dx: int) -> Tensor:
            top, left = self.radius + dy, self.radius + dx
            return padded[..., top : top + height, left : left + width]

        total = image
        for weight, (dy, dx) in zip(params.split(1, 1), self._offsets, strict=True):
            total = total + weight * (shifted(dy, dx) + shifted(-dy, -dx))
        return total / (1 + 2 * params.sum(1, keepdim=True))


class Noise:
    """Additive normal noise with a scale of its own for each pixel and RGB channel."""

    names = ("noise_red", "noise_green", "noise_blue")
    identity = (0.0, 0.0, 0.0)
    low = (0.0, 0.0, 0.0)
    radius = 0
    shrinks = True
    """Averaging k x k pixels divides the noise by k."""

    def __init__(self, config: NoiseConfig) -> None:
        self.high = (config.max_scale,) * 3
        self.drawn = config.drawn_scale if config.drawn_scale[1] > 0 else None
        self._initial = logit(config.initial_scale / config.max_scale)

    def bound(self, raw: Tensor) -> Tensor:
        """Sigmoid between 0 and the largest scale, starting at the initial one."""
        return self.high[0] * torch.sigmoid(raw + self._initial)

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Add the scaled noise."""
        return torch.addcmul(image, params, noise)
