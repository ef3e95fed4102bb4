"""Translations without training: colors or low frequencies of a random real image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.exposure import match_histograms
from torch import Tensor

from dakpn.evaluation.contender import LabelledImage, draw_rng
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
    """Global color transfer: mean and spread of each l-alpha-beta channel become those of a random real image.

    Source: Reinhard et al., "Color transfer between images", 2001.

    Attributes:
        references: uint8 [K, H, W, 3], real images.
        device: that computes, by torch and in float32; None: numpy does, in float64.
    """

    references: NDArray[np.uint8]
    has_draws: bool = True
    device: torch.device | None = None

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        reference = self.references[draw_rng("reinhard", sample.key, draw).integers(len(self.references))]
        image, target = (rgb_to_lab(_placed(pixels, self.device)) for pixels in (sample.image, reference))
        (mean, spread), (aim, wanted) = _moments(image), _moments(target)
        return lab_to_rgb((image - mean) * (wanted / spread.clip(_LEAST_SPREAD)) + aim)


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
        device: as of `Reinhard`.
    """

    references: NDArray[np.uint8]
    band: float
    has_draws: bool = True
    device: torch.device | None = None

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """See `Contender`."""
        reference = self.references[draw_rng("fda", sample.key, draw).integers(len(self.references))]
        placed = (_placed(pixels.transpose(2, 0, 1), self.device) for pixels in (sample.image, reference))
        arrays: Any = np if self.device is None else torch
        image, target = (arrays.fft.fft2(pixels / 255.0) for pixels in placed)
        height, width = sample.image.shape[:2]
        reach = max(1, int(min(height, width) * self.band))
        rows, columns = (np.abs(np.fft.fftfreq(side) * side) <= reach + 0.5 for side in (height, width))
        low = _placed(rows[:, None] & columns, self.device)
        amplitude = arrays.where(low, abs(target), abs(image))
        shown = arrays.fft.ifft2(amplitude * arrays.exp(1j * arrays.angle(image))).real
        return np.ascontiguousarray(_to_bytes(shown).transpose(1, 2, 0))


def rgb_to_lab(image: Any) -> Any:
    """The decorrelated log color space of Reinhard et al.: uint8 [H, W, 3] -> float [H, W, 3], array or tensor."""
    arrays: Any = torch if isinstance(image, Tensor) else np
    cones = (image / 255.0) @ _placed_like(_TO_CONES.T, image)
    return arrays.log10(cones.clip(_DARKEST)) @ _placed_like(_DECORRELATE.T, image)


def lab_to_rgb(lab: Any) -> NDArray[np.uint8]:
    """The inverse of `rgb_to_lab`, clamped to what a byte holds."""
    cones = 10 ** (lab @ _placed_like(np.linalg.inv(_DECORRELATE).T, lab))
    return _to_bytes(cones @ _placed_like(np.linalg.inv(_TO_CONES).T, lab))


def _moments(lab: Any) -> tuple[Any, Any]:
    mean = lab.mean((0, 1))
    return mean, ((lab - mean) ** 2).mean((0, 1)) ** 0.5


def _placed(array: NDArray[Any], device: torch.device | None) -> Any:
    return array if device is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _placed_like(array: NDArray[np.float64], other: Any) -> Any:
    return torch.from_numpy(array.copy()).float().to(other.device) if isinstance(other, Tensor) else array


def _to_bytes(image: Any) -> NDArray[np.uint8]:
    rounded = (image.clip(0, 1) * 255).round()
    return rounded.byte().cpu().numpy() if isinstance(rounded, Tensor) else rounded.astype(np.uint8)
