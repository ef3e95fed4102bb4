"""How far translated images are from real ones: in their colors, and in the features of an extractor.

Compare distances of equal numbers of images only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dakpn.errors import DataError

_QUANTILES = np.linspace(0.005, 0.995, 100)


@dataclass(frozen=True)
class ColorStatistics:
    """Grey levels 0..255 unless said otherwise.

    Attributes:
        mean, spread: Mean and spread of each of red, green and blue over all pixels.
        saturation: mean over the pixels, 0..1.
        variety: how much the images' mean colors differ from one another (standard deviation, mean of channels).
        distance: between the pixels of both sets, mean of channels (1-Wasserstein): the levels that a pixel is off.
    """

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    saturation: float
    variety: float
    distance: float


def color_statistics(images: NDArray[np.uint8], reference: NDArray[np.uint8]) -> ColorStatistics:
    """Statistics of images [N, H, W, 3], and their distance from reference images [M, H', W', 3]."""
    mean, spread = (_rounded(values) for values in (images.mean((0, 1, 2)), images.std((0, 1, 2))))
    brightest, darkest = images.max(-1).astype(np.float64), images.min(-1)
    saturation = ((brightest - darkest) / np.maximum(brightest, 1)).mean()
    return ColorStatistics(
        mean=mean,
        spread=spread,
        saturation=float(saturation),
        variety=float(images.mean((1, 2)).std(0).mean()),
        distance=float(np.abs(_quantiles(images) - _quantiles(reference)).mean()),
    )


def _quantiles(images: NDArray[np.uint8]) -> np.ndarray:
    return np.quantile(images.reshape(-1, 3), _QUANTILES, axis=0)


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 2) for value in values)
    return red, green, blue


Features = NDArray[np.float64]


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Frechet distance of the Gaussians fitted to features [N, D] and [M, D].

    The trace of the root of the covariances' product is the nuclear norm of the product of the centerd features, or
    of their triangular factors: exact, and of the smaller of images and dimensions.

    Source: Heusel et al., 2017 (FID, when the extractor is Inception).
    """
    _require_pair(first, second)
    centerd = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (first, second)]
    means = np.square(first.mean(0) - second.mean(0)).sum()
    spreads = sum(np.square(x).sum() for x in centerd)
    factors = [np.asarray(np.linalg.qr(x, mode="r")) for x in centerd]
    shared = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    return float(max(0.0, means + spreads - 2 * shared))


def kernel_distance(first: Features, second: Features) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3; may be below 0 for equal sets.

    Source: Binkowski et al., 2018 (KID, when the extractor is Inception).
    """
    _require_pair(first, second)

    def kernel(a: Features, b: Features) -> Features:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Features) -> float:
        values = kernel(a, a)
        return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())


def _require_pair(first: Features, second: Features) -> None:
    if min(len(first), len(second)) < 2 or first.shape[1] != second.shape[1]:
        raise DataError(
            f"got features {list(first.shape)} and {list(second.shape)}; expected at least two images in either set, "
            "and features of the same extractor"
        )
