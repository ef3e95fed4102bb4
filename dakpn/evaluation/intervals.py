"""Is one contender better than another? Differences paired over seeds and draws, with a bootstrap interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dakpn.errors import DataError

_RESAMPLES = 10_000
_LEVEL = 0.95

Pair = tuple[int, int]
"""(seed, draw of the real labelled images)."""


@dataclass(frozen=True)
class PairedDifference:
    """First minus second, over the pairs that both have.

    Attributes:
        mean: of the differences.
        low, high: 95 % interval; None for a single pair, which says nothing of how much the difference varies.
        pairs: their number. With fewer than five the interval is about the range of what was seen: above 0 it says
            that every pair agrees, no more.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def is_above(self) -> bool:
        """The interval lies above 0."""
        return self.low is not None and self.low > 0


def paired_difference(first: Mapping[Pair, float], second: Mapping[Pair, float]) -> PairedDifference:
    """Compare the scores of two contenders by (seed, draw); deterministic.

    Seeds and draws are resampled apart, since scores with the same draw or the same seed are not independent.

    Source: Owen, "The pigeonhole bootstrap", 2007; percentile interval.

    Raises:
        DataError: they have no pair in common.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        raise DataError("the two contenders have no seed and draw in common; evaluate both with the same ones")
    seeds, draws = (sorted({pair[axis] for pair in common}) for axis in (0, 1))
    table = np.full((len(seeds), len(draws)), np.nan)
    for seed, draw in common:
        table[seeds.index(seed), draws.index(draw)] = first[seed, draw] - second[seed, draw]
    mean = float(np.nanmean(table))
    if len(common) == 1:
        return PairedDifference(mean, None, None, 1)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(seeds), (_RESAMPLES, len(seeds)))
    columns = rng.integers(0, len(draws), (_RESAMPLES, len(draws)))
    resampled = table[rows[:, :, None], columns[:, None, :]].reshape(_RESAMPLES, -1)
    known = ~np.isnan(resampled)
    counts = known.sum(1)
    means = np.where(known, resampled, 0).sum(1)[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return PairedDifference(mean, float(low), float(high), len(common))
