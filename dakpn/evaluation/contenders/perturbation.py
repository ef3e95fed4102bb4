"""Blur and noise that nothing has learned, within the bounds of a recipe: the control of a trained head."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn.config import GaussianBlurConfig, NoiseConfig, TranslationConfig
from dakpn.evaluation.contender import LabelledImage, draw_rng
from dakpn.models.function.noise import noise_seed
from dakpn.models.function.translation import TranslationFunction
from dakpn.models.function.whole_image import translate_image
from dakpn.models.precision import CPU

_CHANNELS = 3


@dataclass(frozen=True)
class Perturbation:
    """A blur and a noise, each drawn evenly for an image and the same for all of its pixels and channels.

    Attributes:
        max_sigma: largest standard deviation of the blur, in pixels.
        max_noise: largest standard deviation of the noise, of an image in 0..1.
        device: that computes.
    """

    max_sigma: float
    max_noise: float
    has_draws: bool = True
    device: torch.device = CPU

    @cached_property
    def _function(self) -> TranslationFunction:
        blur = GaussianBlurConfig(max_sigma=self.max_sigma, initial_sigma=self.max_sigma / 2)
        noise = NoiseConfig(max_scale=self.max_noise, initial_scale=self.max_noise / 2)
        return TranslationFunction(TranslationConfig(stages=(blur, noise)))

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        shares = torch.from_numpy(draw_rng("perturbation", sample.key, draw).random(2)).float()
        params = (shares * torch.tensor([self.max_sigma, self.max_noise])).repeat_interleave(_CHANNELS)
        return translate_image(
            self._function,
            sample.image,
            params.view(1, -1, 1, 1).to(self.device),
            noise_seed(f"perturbation/{sample.key}", draw),
        )
