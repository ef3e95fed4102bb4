"""The one statistic of evaluations, pages and sweeps: paired differences with an interval, and rows of what they say.

Contenders are trained with the same seeds and the same draws of real labelled images, so they share the luck of both.
What tells two of them apart is the mean of their differences by seed and draw, with a paired t interval. It keeps its
promise with few seeds: in simulations of normal differences, 95 % intervals cover the truth in 95 of 100 cases with
3, 5 and 10 seeds. A percentile bootstrap covers it in 76, 85 and 90, and Welch's interval, which does not pair, is wide
by the luck that both contenders share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from scipy.special import stdtrit

from dakpn.config import EvaluateConfig, KernelPredictionConfig, RealOnlyConfig, SourceOnlyConfig
from dakpn.config.contenders import parts_of
from dakpn.errors import DataError
from dakpn.evaluation.contender import ORACLE, OURS, SOURCE_ONLY

_LEVEL = 0.95

Pair = tuple[int, int]
"""(seed, draw of the real labelled images)."""
Outcome = Literal["above", "below", "unclear", "one seed"]
Role = Literal["ours", "source_only", "oracle", "baseline", "other"]
"""What a contender is: our method, training on untranslated images, the upper bound, another method, or none of these:
a further contender of ours, or training on real labels alone."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and draws, of scores or of paired differences.

    Attributes:
        mean: Mean of all pairs, a fraction of 1.
        low, high: ends of the 95 % interval; None with one seed, which shows nothing of how much the mean varies.
        pairs: number of (seed, draw) that it rests on.
        seeds: number of different seeds among them.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int
    seeds: int

    @property
    def outcome(self) -> Outcome:
        """Where the interval lies: above 0, below 0, or around it."""
        if self.low is None or self.high is None:
            return "one seed"
        return "above" if self.low > 0 else "below" if self.high < 0 else "unclear"


def paired_difference(first: Mapping[Pair, float], second: Mapping[Pair, float]) -> Estimate:
    """The scores of one contender minus those of another, paired by seed and draw.

    Scores that are not finite are left out.

    Raises:
        DataError: they have no pair in common.
    """
    common = common_pairs(first, second)
    if not common:
        raise DataError("the two contenders have no seed and draw in common; evaluate both with the same ones")
    return estimate({pair: first[pair] - second[pair] for pair in common})


def common_pairs(first: Mapping[Pair, float], second: Mapping[Pair, float]) -> list[Pair]:
    """The pairs of seed and draw that both have a finite score of, in order."""
    return [p for p in sorted(first.keys() & second.keys()) if math.isfinite(first[p]) and math.isfinite(second[p])]


def estimate(values: Mapping[Pair, float]) -> Estimate:
    """The mean of values by seed and draw, with a t interval.

    With one draw this is Student's interval over the seeds; of differences, the paired one. Where each of several draws
    is used with several seeds, values that share a seed or a draw are not independent: the variances of the seeds'
    means and of the draws' means are added, with the degrees of freedom of that sum. In simulations of 3 seeds x 3
    draws that covers the truth in 97 to 99 of 100 cases, whatever seeds and draws contribute; nine pairs taken as
    independent cover it in 69 to 95.

    Source: Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 1947, for the degrees of freedom of a sum of variances.

    Raises:
        DataError: there is no value.
    """
    if not values:
        raise DataError("got no score to take a mean of; expected one for each seed and draw")
    mean, seeds = fmean(values.values()), len({seed for seed, _ in values})
    if seeds == 1:
        return Estimate(mean, None, None, len(values), 1)
    terms = [term for axis in (0, 1) if (term := _variance_of_mean(values, axis)) is not None]
    variance = sum(term for term, _ in terms)
    if variance == 0.0:
        return Estimate(mean, mean, mean, len(values), seeds)
    degrees = variance**2 / sum(term**2 / of_term for term, of_term in terms)
    half_width = float(stdtrit(degrees, (1 + _LEVEL) / 2)) * math.sqrt(variance)
    return Estimate(mean, mean - half_width, mean + half_width, len(values), seeds)


def _variance_of_mean(values: Mapping[Pair, float], axis: int) -> tuple[float, int] | None:
    """Variance of the mean of the means of each seed (axis 0) or draw (1), and its degrees of freedom; None of one."""
    groups: dict[int, list[float]] = {}
    for pair, value in values.items():
        groups.setdefault(pair[axis], []).append(value)
    if len(groups) == 1:
        return None
    return stdev(map(fmean, groups.values())) ** 2 / len(groups), len(groups) - 1


Cells = Sequence[Mapping[str, Any]]


def summarize(config: EvaluateConfig, cells: Cells) -> list[dict[str, Any]]:
    """One row for each contender and number of real labelled images, in the order of the cells.

    Returns:
        Rows of `contender`, `real_labelled`, `scores` (their number), `miou` and `miou_std` (fractions), `sequences`
        (name: mIoU, of each sequence of the test set, if they are told apart), `against_source_only` and
        `against_best_other`: None, or `name` and the fields of `Estimate`; and, for DA-KPN, `against_each`, a list of
        such. The best other of a contender is, with as many labels, the best of DA-KPN and the baselines by its mean.
    """
    scores = _scores(cells)
    source_only = find_source_only(config)
    ours = find_ours(config)
    compared = [*ours, *(name for name, _ in scores if role_of(config, name) == "baseline")]
    rows = []
    for (name, count), by_pair in scores.items():
        others = {
            other: fmean(s.values())
            for (other, n), s in scores.items()
            if n == count and other != name and other in compared and not (name in ours and other in ours)
        }
        best = max(others, key=lambda other: others[other], default=None)
        rows.append(
            {
                "contender": name,
                "real_labelled": count,
                "scores": len(by_pair),
                "miou": fmean(by_pair.values()),
                "miou_std": stdev(by_pair.values()) if len(by_pair) > 1 else None,
                "sequences": _sequence_means(cells, name, count),
                "against_source_only": _comparison(scores, name, source_only, count),
                "against_best_other": _comparison(scores, name, best, count) if name in compared else None,
                "against_each": _comparisons(scores, name, count) if name in ours else [],
            }
        )
    return rows


def role_of(config: EvaluateConfig, name: str) -> Role:
    """What a contender of this name is; the first of ours is the one that is judged."""
    if name == ORACLE:
        return "oracle"
    if name == find_source_only(config):
        return "source_only"
    ours = find_ours(config)
    if name in ours:
        return "ours" if name == ours[0] else "other"
    return "other" if isinstance(config.contenders.get(name), RealOnlyConfig) else "baseline"


def find_source_only(config: EvaluateConfig) -> str:
    """Name of the contender that trains on untranslated images; the usual name where none is marked."""
    marked = (name for name, contender in config.contenders.items() if isinstance(contender, SourceOnlyConfig))
    return next(marked, SOURCE_ONLY)


def find_ours(config: EvaluateConfig) -> list[str]:
    """Names of the contenders that are DA-KPN, alone, in a chain or under self-training; that name comes first."""
    names = [
        name
        for name, contender in config.contenders.items()
        if name == OURS or any(isinstance(part, KernelPredictionConfig) for part in parts_of(contender))
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


def points(value: float) -> str:
    """A signed difference of two fractions in percentage points: 0.074 -> "+7.4"."""
    rounded = round(100 * value, 1)
    if rounded == 0:
        return "\u00b10.0"
    return f"{'+' if rounded > 0 else chr(0x2212)}{abs(rounded):.1f}"


def interval_text(difference: Estimate) -> str:
    """ "+0.4 to +3.0" in points, or "one seed, no interval"."""
    if difference.low is None or difference.high is None:
        return "one seed, no interval"
    return " to ".join(points(end).removeprefix("\u00b1") for end in (difference.low, difference.high))


def difference_text(difference: Mapping[str, Any] | Estimate | None) -> str:
    """ "+2.1 [+0.4 to +3.0]" in points, of an estimate or of a comparison of `summarize`; "" for none."""
    if difference is None:
        return ""
    if not isinstance(difference, Estimate):
        difference = Estimate(**{name: value for name, value in difference.items() if name != "name"})
    return f"{points(difference.mean)} [{interval_text(difference)}]"


def _scores(cells: Cells) -> dict[tuple[str, int], dict[Pair, float]]:
    scores: dict[tuple[str, int], dict[Pair, float]] = {}
    for cell in cells:
        by_pair = scores.setdefault((cell["contender"], cell["real_labelled"]), {})
        by_pair[cell["seed"], cell["draw"]] = cell["miou"]
    return scores


def _comparisons(scores: Mapping[tuple[str, int], Mapping[Pair, float]], name: str, count: int) -> list[dict[str, Any]]:
    others = (other for other, n in scores if n == count and other != ORACLE)
    return [found for other in others if (found := _comparison(scores, name, other, count)) is not None]


def _sequence_means(cells: Cells, name: str, count: int) -> dict[str, float]:
    """Mean score of each sequence, by its name."""
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
    if not common_pairs(first, second):
        return None
    return {"name": other, **asdict(paired_difference(first, second))}
