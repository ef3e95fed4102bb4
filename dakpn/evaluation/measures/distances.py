"""Distances between two sets of images, in the features of an extractor. Compare figures of equal N only."""

import numpy as np
from numpy.typing import NDArray

from dakpn.errors import DataError

Features = NDArray[np.float64]


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Frechet distance of the Gaussians fitted to features [N, D] and [M, D].

    The trace of the root of the covariances' product is the nuclear norm of the product of the centred features, or
    of their triangular factors: exact, and of the smaller of images and dimensions.

    Source: Heusel et al., 2017 (FID, when the extractor is Inception).
    """
    _require_pair(first, second)
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (first, second)]
    means = np.square(first.mean(0) - second.mean(0)).sum()
    spreads = sum(np.square(x).sum() for x in centred)
    factors = [np.asarray(np.linalg.qr(x, mode="r")) for x in centred]
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
