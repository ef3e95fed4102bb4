"""Arithmetic behind the verdict: means over seeds and differences with an honest interval."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from dakpn.report.data import ContenderResult

Outcome = Literal["above", "below", "unclear", "one seed"]

# Two-sided 95 % quantiles of Student's t by degrees of freedom. A value between two rows takes the row
# with fewer degrees, hence the wider interval.
_T_QUANTILES = (
    (1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306),
    (9, 2.262), (10, 2.228), (12, 2.179), (15, 2.131), (20, 2.086), (30, 2.042), (60, 2.000),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean mIoU of one contender minus that of another, as a fraction.

    `half_width` is half of the 95 % interval (Welch's t, unequal variances), or None when either side
    has fewer than two seeds and the spread is therefore unknown.
    """

    gain: float
    half_width: float | None
    seed_counts: tuple[int, int]

    @property
    def outcome(self) -> Outcome:
        """Which side is better, as far as these seeds can tell."""
        if self.half_width is None:
            return "one seed"
        if abs(self.gain) <= self.half_width:
            return "unclear"
        return "above" if self.gain > 0 else "below"


@dataclass(frozen=True, slots=True)
class Roles:
    """Who is who among the contenders; None where nobody with a score has the role."""

    ours: ContenderResult | None
    baseline: ContenderResult | None
    oracle: ContenderResult | None
    best_rival: ContenderResult | None


def assign_roles(contenders: Iterable[ContenderResult]) -> Roles:
    """Finds the method, its baseline, the oracle and the best of the other methods."""
    scored = [c for c in contenders if finite(c.miou)]
    ours = next((c for c in scored if c.is_ours), None)
    baseline = find_baseline(scored)
    oracle = max((c for c in scored if c.is_reference), key=mean_miou, default=None)
    rivals = [c for c in scored if not c.is_ours and not c.is_reference and c is not baseline]
    return Roles(ours, baseline, oracle, max(rivals, key=mean_miou, default=None))


def find_baseline(contenders: Sequence[ContenderResult]) -> ContenderResult | None:
    """The contender marked as the baseline, else the one named source-only."""
    marked = next((c for c in contenders if c.is_baseline), None)
    if marked is not None:
        return marked
    names = ("source-only", "source only", "source_only")
    return next((c for c in contenders if c.name.strip().lower() in names), None)


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that are numbers."""
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def mean_miou(contender: ContenderResult) -> float:
    """Mean over the seeds with a finite score; needs at least one."""
    return fmean(finite(contender.miou))


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, or None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def compare(first: ContenderResult, second: ContenderResult) -> Difference:
    """How far `first` is above `second`; both need at least one finite score.

    Source: Welch, "The generalization of Student's problem when several different population variances
    are involved", Biometrika 1947, with the Welch-Satterthwaite degrees of freedom.
    """
    a, b = finite(first.miou), finite(second.miou)
    gain = fmean(a) - fmean(b)
    counts = (len(a), len(b))
    if min(counts) < 2:
        return Difference(gain, None, counts)
    terms = [stdev(v) ** 2 / len(v) for v in (a, b)]
    variance = sum(terms)
    if variance == 0.0:
        return Difference(gain, 0.0, counts)
    degrees = variance**2 / sum(t**2 / (n - 1) for t, n in zip(terms, counts, strict=True))
    return Difference(gain, _t_quantile(degrees) * math.sqrt(variance), counts)


def class_means(contender: ContenderResult, num_classes: int) -> list[float | None]:
    """IoU of every class, averaged over the seeds in which the class has pixels; None where none has."""
    columns = [
        finite(row[index] for row in contender.per_class_iou if index < len(row)) for index in range(num_classes)
    ]
    return [fmean(column) if column else None for column in columns]


def _t_quantile(degrees: float) -> float:
    rows = [quantile for limit, quantile in _T_QUANTILES if limit <= degrees + 1e-9]
    return rows[-1] if rows else _T_QUANTILES[0][1]
