"""What the scores of an evaluation say: paired differences with an interval, and a row for each contender."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from dakpn.config import EvaluateConfig, KernelPredictionConfig, RealOnlyConfig, SourceOnlyConfig
from dakpn.errors import DataError
from dakpn.evaluation.protocol import ORACLE

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


SOURCE_ONLY = "source-only"
OURS = "DA-KPN"

Cells = Sequence[Mapping[str, Any]]


def summarize(config: EvaluateConfig, cells: Cells) -> list[dict[str, Any]]:
    """One row for each contender and number of real labelled images, in the order of the cells.

    Returns:
        Rows of `contender`, `real_labelled`, `scores` (their number), `miou` and `miou_std` (fractions), `sequences`
        (name: mIoU, of each sequence of the test set, if they are told apart), `against_source_only` and
        `against_best_rival`: None, or `name`, `mean`, `low`, `high`, `pairs`; and, for DA-KPN, `against_each`, a list
        of such. The best rival of a contender is, with as many labels, the best of the others by its mean; controls
        are no rivals.
    """
    scores = _scores(cells)
    source_only = find_source_only(config)
    controls = {ORACLE, source_only, *(n for n, c in config.contenders.items() if isinstance(c, RealOnlyConfig))}
    ours = find_ours(config)
    rows = []
    for (name, count), by_pair in scores.items():
        rivals = {
            other: fmean(s.values())
            for (other, n), s in scores.items()
            if n == count and other != name and other not in controls and not (name in ours and other in ours)
        }
        best = max(rivals, key=lambda other: rivals[other], default=None)
        rows.append(
            {
                "contender": name,
                "real_labelled": count,
                "scores": len(by_pair),
                "miou": fmean(by_pair.values()),
                "miou_std": stdev(by_pair.values()) if len(by_pair) > 1 else None,
                "sequences": _sequence_means(cells, name, count),
                "against_source_only": _comparison(scores, name, source_only, count),
                "against_best_rival": None if name in controls else _comparison(scores, name, best, count),
                "against_each": _comparisons(scores, name, count, ours) if name in ours else [],
            }
        )
    return rows


def find_source_only(config: EvaluateConfig) -> str:
    """Name of the contender that trains on untranslated images; the usual name where none is marked."""
    marked = (name for name, contender in config.contenders.items() if isinstance(contender, SourceOnlyConfig))
    return next(marked, SOURCE_ONLY)


def find_ours(config: EvaluateConfig) -> list[str]:
    """Names of the contenders that are DA-KPN, alone or in a chain; the one of that name comes first."""
    names = [
        name
        for name, contender in config.contenders.items()
        if name == OURS
        or any(isinstance(p, KernelPredictionConfig) for p in (contender, *getattr(contender, "parts", ())))
    ]
    return sorted(names, key=lambda name: name != OURS)


def score_text(row: dict[str, Any]) -> str:
    """ "27.1 ± 1.8" in percent, of a row of `summarize`."""
    return f"{100 * row['miou']:.1f}" + (f" ± {100 * row['miou_std']:.1f}" if row["miou_std"] is not None else "")


def sequence_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the test set's sequences, of rows of `summarize`; none where they are not told apart."""
    return sorted({name for row in rows for name in row["sequences"]})


def sequence_text(row: dict[str, Any], name: str) -> str:
    """ "27.1" in percent: the mIoU on a sequence, of a row of `summarize`; "" without one."""
    return f"{100 * row['sequences'][name]:.1f}" if name in row["sequences"] else ""


def difference_text(difference: dict[str, Any] | None) -> str:
    """ "+2.1 [+0.4, +3.0]" in points; "" for no comparison."""
    if difference is None:
        return ""
    text = f"{100 * difference['mean']:+.1f}"
    if difference["low"] is not None:
        text += f" [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
    return text.replace("-", "\u2212")


def _scores(cells: Cells) -> dict[tuple[str, int], dict[Pair, float]]:
    scores: dict[tuple[str, int], dict[Pair, float]] = {}
    for cell in cells:
        by_pair = scores.setdefault((cell["contender"], cell["real_labelled"]), {})
        by_pair[cell["seed"], cell["draw"]] = cell["miou"]
    return scores


def _comparisons(
    scores: Mapping[tuple[str, int], Mapping[Pair, float]], name: str, count: int, ours: Sequence[str]
) -> list[dict[str, Any]]:
    others = (other for other, n in scores if n == count and other not in (ORACLE, *ours))
    return [found for other in others if (found := _comparison(scores, name, other, count)) is not None]


def _sequence_means(cells: Cells, name: str, count: int) -> dict[str, float]:
    """By the sequences' names."""
    of_row = [
        c["sequences"] for c in cells if (c["contender"], c["real_labelled"]) == (name, count) if "sequences" in c
    ]
    names = sorted({sequence for sequences in of_row for sequence in sequences})
    return {name: fmean(s[name]["miou"] for s in of_row if name in s) for name in names}


def _comparison(
    scores: Mapping[tuple[str, int], Mapping[Pair, float]], name: str, other: str | None, count: int
) -> dict[str, Any] | None:
    if other is None or other == name or (other, count) not in scores:
        return None
    first, second = scores[name, count], scores[other, count]
    if not first.keys() & second.keys():
        return None
    difference: PairedDifference = paired_difference(first, second)
    return {"name": other, **vars(difference)}
