"""Contenders around something else: DA-KPN weights, stored images, random transform params, chains of contenders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn.config import GaussianBlurConfig, NoiseConfig, TranslationConfig
from dakpn.errors import DataError
from dakpn.evaluation.contender import Contender, LabelledImage, draw_rng
from dakpn.models.function.apply import translate_image
from dakpn.models.function.noise import noise_seed
from dakpn.models.function.translation import TranslationFunction
from dakpn.models.precision import CPU
from dakpn.translation.translator import Translator


@dataclass(frozen=True)
class KernelPrediction:
    """DA-KPN on the fly.

    Attributes:
        translator: with the contender's weights.
        strength: 0 to 1; None draws it uniformly for every image.
    """

    translator: Translator
    strength: float | None = 1.0
    has_draws: bool = True

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        strength = self.strength
        if strength is None:
            strength = float(draw_rng("strength", sample.key, draw).random())
        return replace(self.translator, strength=strength, draw=draw).translate(sample.image, sample.key, sample.label)


@dataclass(frozen=True)
class Stored:
    """Images that something else has translated.

    Attributes:
        images: key -> uint8 [H, W, 3].
        origin: URI to name in errors.
    """

    images: Mapping[str, NDArray[np.uint8]]
    origin: str
    has_draws: bool = False

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`. Raises `DataError` for a key that is not there."""
        if sample.key not in self.images:
            raise DataError(f"{self.origin} has no image for {sample.key}; expected one for every synthetic image")
        return self.images[sample.key]


@dataclass(frozen=True)
class Chain:
    """Contenders one after the other; all of them see the synthetic image's label."""

    parts: Sequence[Contender]

    @property
    def has_draws(self) -> bool:
        """See `Contender`."""
        return any(part.has_draws for part in self.parts)

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        return reduce(lambda seen, part: replace(seen, image=part.translate(seen, draw)), self.parts, sample).image


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
