"""Translations without training: colours or low frequencies of a random real image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.exposure import match_histograms

from dakpn.evaluation.contenders.base import LabelledImage, draw_rng
from dakpn.models.function.color import LOG_CONES_TO_LAB, RGB_TO_CONES

_TO_CONES, _DECORRELATE = np.array(RGB_TO_CONES), np.array(LOG_CONES_TO_LAB)
_DARKEST = 1 / 255
_LEAST_SPREAD = 1e-4


@dataclass(frozen=True)
class Unchanged:
    """Source-only: the synthetic image itself."""

    has_draws: bool = False

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        return sample.image


@dataclass(frozen=True)
class Reinhard:
    """Global colour transfer: mean and spread of each l-alpha-beta channel become those of a random real image.

    Source: Reinhard et al., "Color transfer between images", 2001.

    Attributes:
        references: uint8 [K, H, W, 3], real images.
    """

    references: NDArray[np.uint8]
    has_draws: bool = True

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        reference = self.references[draw_rng("reinhard", sample.key, draw).integers(len(self.references))]
        image, target = rgb_to_lab(sample.image), rgb_to_lab(reference)
        mean, spread = image.mean((0, 1)), image.std((0, 1))
        gain = target.std((0, 1)) / np.maximum(spread, _LEAST_SPREAD)
        return lab_to_rgb((image - mean) * gain + target.mean((0, 1)))


@dataclass(frozen=True)
class HistogramMatching:
    """Each RGB channel takes the histogram of a random real image's.

    Attributes:
        references: uint8 [K, H, W, 3], real images.
    """

    references: NDArray[np.uint8]
    has_draws: bool = True

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        reference = self.references[draw_rng("histogram", sample.key, draw).integers(len(self.references))]
        return _to_bytes(match_histograms(sample.image, reference, channel_axis=2) / 255)


@dataclass(frozen=True)
class Fourier:
    """Low-frequency amplitudes of a random real image, the synthetic image's phases.

    Source: Yang and Soatto, "FDA: Fourier domain adaptation for semantic segmentation", 2020.

    Attributes:
        references: uint8 [K, H, W, 3], real images of the size of the synthetic ones.
        band: half-width of the exchanged square, as a share of the shorter side (the paper's L).
    """

    references: NDArray[np.uint8]
    band: float
    has_draws: bool = True

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        reference = self.references[draw_rng("fda", sample.key, draw).integers(len(self.references))]
        image, target = (np.fft.fft2(x / 255.0, axes=(0, 1)) for x in (sample.image, reference))
        height, width = sample.image.shape[:2]
        reach = max(1, int(min(height, width) * self.band))
        rows, columns = (np.abs(np.fft.fftfreq(side) * side) <= reach + 0.5 for side in (height, width))
        amplitude = np.where((rows[:, None] & columns)[..., None], np.abs(target), np.abs(image))
        return _to_bytes(np.fft.ifft2(amplitude * np.exp(1j * np.angle(image)), axes=(0, 1)).real)


def rgb_to_lab(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The decorrelated log colour space of Reinhard et al.: uint8 [H, W, 3] -> float [H, W, 3]."""
    return np.log10(np.maximum(image / 255.0 @ _TO_CONES.T, _DARKEST)) @ _DECORRELATE.T


def lab_to_rgb(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The inverse of `rgb_to_lab`, clamped to what a byte holds."""
    return _to_bytes(10 ** (lab @ np.linalg.inv(_DECORRELATE).T) @ np.linalg.inv(_TO_CONES).T)


def _to_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
