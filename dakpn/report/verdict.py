"""The sentences at the top of the page. They state what the scores say and nothing more."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from dakpn.report.data import ContenderResult

Tone = Literal["gain", "loss", "unclear", "pending"]
Outcome = Literal["above", "below", "unclear", "one seed"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure: what it is, its value as text, and what it rests on."""

    label: str
    value: str
    note: str = ""
    kind: Literal["ours", "baseline", "oracle", "gap"] = "gap"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence, the sentences that qualify it, and the figures beside them."""

    tone: Tone
    sentence: str
    remarks: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


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


def judge(contenders: Sequence[ContenderResult]) -> Verdict:
    """The verdict on a run from its downstream scores, which may still be missing."""
    roles = assign_roles(contenders)
    if roles.ours is None:
        return _without_ours(contenders, roles)
    figures = _figures(roles)
    if roles.baseline is None:
        sentence = f"{roles.ours.name} scores {percent(mean_miou(roles.ours))} mIoU."
        remark = "There is no source-only score to compare it with, so this page cannot say what it gains."
        return Verdict("pending", sentence, (remark, *_remarks(contenders, roles)), figures)
    difference = compare(roles.ours, roles.baseline)
    tone, sentence = _sentence(roles.ours, roles.baseline, difference)
    return Verdict(tone, sentence, _remarks(contenders, roles), figures)


def percent(value: float, digits: int = 1) -> str:
    """0.271 -> "27.1 %"."""
    return f"{100 * value:.{digits}f}\u00a0%"


def points(value: float) -> str:
    """A signed difference of two fractions in percentage points: 0.074 -> "+7.4"."""
    rounded = round(100 * value, 1)
    if rounded == 0:
        return "\u00b10.0"
    return f"{'+' if rounded > 0 else chr(0x2212)}{abs(rounded):.1f}"


def seed_count(counts: tuple[int, int]) -> str:
    """(3, 3) -> "3 seeds each"; (3, 2) -> "3 and 2 seeds"."""
    first, second = counts
    if first != second:
        return f"{first} and {second} seeds"
    return "one seed each" if first == 1 else f"{first} seeds each"


def _without_ours(contenders: Sequence[ContenderResult], roles: Roles) -> Verdict:
    scored = [c for c in contenders if finite(c.miou)]
    if not scored:
        sentence = "No verdict yet: this report holds no segmentation scores."
        return Verdict("pending", sentence, ("Pictures and curves alone cannot tell whether the translation helps.",))
    names = ", ".join(f"{c.name} {percent(mean_miou(c))}" for c in scored)
    sentence = "No verdict yet: the method itself has no segmentation score."
    return Verdict("pending", sentence, (f"Scores so far: {names}.",), _figures(roles))


def _sentence(ours: ContenderResult, baseline: ContenderResult, difference: Difference) -> tuple[Tone, str]:
    score, base_score = percent(mean_miou(ours)), percent(mean_miou(baseline))
    start = f"{ours.name} scores {score} mIoU"
    size = f"{abs(100 * difference.gain):.1f} points"
    seeds = seed_count(difference.seed_counts)
    match difference.outcome:
        case "above":
            return "gain", f"{start}, {size} above {baseline.name}."
        case "below":
            return "loss", f"{start}, {size} below {baseline.name}: here the translation does harm."
        case "unclear":
            return "unclear", (
                f"{start} against {base_score} for {baseline.name}: "
                f"not distinguishable at this number of seeds ({seeds})."
            )
        case _:
            return "unclear", (
                f"{start} against {base_score} for {baseline.name}. With {seeds}, "
                "nothing shows whether that difference would repeat."
            )


def _remarks(contenders: Sequence[ContenderResult], roles: Roles) -> tuple[str, ...]:
    remarks: list[str] = []
    if roles.ours is not None and roles.baseline is not None:
        remarks += _interval_remark(compare(roles.ours, roles.baseline))
    if roles.ours is not None and roles.best_rival is not None:
        remarks.append(_rival_remark(roles.ours, roles.best_rival))
    remarks += _missing_remarks(contenders)
    return tuple(remarks)


def _interval_remark(difference: Difference) -> list[str]:
    if difference.half_width is None:
        return []
    low, high = (points(difference.gain + sign * difference.half_width).replace("\u00b1", "") for sign in (-1, 1))
    seeds = seed_count(difference.seed_counts)
    return [f"95\u00a0% interval of the difference: {low} to {high} points ({seeds})."]


def _rival_remark(ours: ContenderResult, rival: ContenderResult) -> str:
    difference = compare(ours, rival)
    start = f"Best other method: {rival.name} with {percent(mean_miou(rival))}, which is"
    size = f"{abs(100 * difference.gain):.1f} points"
    side = "below" if difference.gain >= 0 else "above"
    match difference.outcome:
        case "above" | "below":
            return f"{start} {size} {side} {ours.name}."
        case "unclear":
            return f"{start} not distinguishable from {ours.name} at this number of seeds."
        case _:
            return f"{start} {size} {side} {ours.name}, with too few seeds to know whether that repeats."


def _missing_remarks(contenders: Sequence[ContenderResult]) -> list[str]:
    remarks = []
    for contender in contenders:
        missing = len(contender.miou) - len(finite(contender.miou))
        if missing:
            total = len(contender.miou)
            remarks.append(f"{contender.name}: {missing} of {total} seeds without a finite score, left out.")
    return remarks


def _figures(roles: Roles) -> tuple[Figure, ...]:
    figures = []
    if roles.ours is not None:
        figures.append(_score_figure(roles.ours, "ours"))
    if roles.baseline is not None:
        figures.append(_score_figure(roles.baseline, "baseline"))
    if roles.oracle is not None:
        figures.append(_score_figure(roles.oracle, "oracle"))
    gap = _gap_figure(roles)
    return (*figures, gap) if gap else tuple(figures)


def _score_figure(contender: ContenderResult, kind: Literal["ours", "baseline", "oracle"]) -> Figure:
    scores = finite(contender.miou)
    deviation = spread(scores)
    note = "one seed" if deviation is None else f"\u00b1\u00a0{100 * deviation:.1f}, {len(scores)} seeds"
    return Figure(contender.name, percent(mean_miou(contender)), note, kind)


def _gap_figure(roles: Roles) -> Figure | None:
    """Share of the way from baseline to oracle, only where both ends of that way and the gain are clear."""
    if roles.ours is None or roles.baseline is None or roles.oracle is None:
        return None
    gap, gain = compare(roles.oracle, roles.baseline), compare(roles.ours, roles.baseline)
    if gap.outcome != "above" or gain.outcome != "above":
        return None
    note = f"from {roles.baseline.name} to {roles.oracle.name}"
    return Figure("gap closed", percent(gain.gain / gap.gain, 0), note)


# Two-sided 95 % quantiles of Student's t by degrees of freedom. A value between two rows takes the row
# with fewer degrees, hence the wider interval.
_T_QUANTILES = (
    (1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306),
    (9, 2.262), (10, 2.228), (12, 2.179), (15, 2.131), (20, 2.086), (30, 2.042), (60, 2.000),
)  # fmt: skip


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
