"""The sentences at the top of the page. They state what the scores say and nothing more."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from dakpn.evaluation.statistics import (
    Estimate,
    Role,
    common_pairs,
    difference_text,
    interval_text,
    paired_difference,
    points,
)
from dakpn.report.data import ContenderResult

Tone = Literal["gain", "loss", "unclear", "pending"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure: what it is, its value as text, and what it rests on."""

    label: str
    value: str
    note: str = ""
    kind: Literal["ours", "source_only", "oracle", "gap"] = "gap"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence, the sentences that qualify it, and the figures beside them."""

    tone: Tone
    sentence: str
    remarks: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Roles:
    """Who is who among the contenders; None where nobody with a score has the role."""

    ours: ContenderResult | None
    source_only: ContenderResult | None
    oracle: ContenderResult | None
    best_baseline: ContenderResult | None


def judge(contenders: Sequence[ContenderResult]) -> Verdict:
    """The verdict on a run from its downstream scores, which may still be missing."""
    roles = assign_roles(contenders)
    if roles.ours is None:
        return _without_ours(contenders, roles)
    figures = _figures(roles)
    if roles.source_only is None:
        sentence = f"{roles.ours.name} scores {percent(mean_miou(roles.ours))} mIoU."
        remark = "There is no source-only score to compare it with, so this page cannot say what it gains."
        return Verdict("pending", sentence, (remark, *_remarks(contenders, roles)), figures)
    difference = compare(roles.ours, roles.source_only)
    tone, sentence = _sentence(roles.ours, roles.source_only, difference)
    return Verdict(tone, sentence, _remarks(contenders, roles), figures)


def percent(value: float, digits: int = 1) -> str:
    """0.271 -> "27.1 %"."""
    return f"{100 * value:.{digits}f}\u00a0%"


def _without_ours(contenders: Sequence[ContenderResult], roles: Roles) -> Verdict:
    scored = [c for c in contenders if finite(c.miou)]
    if not scored:
        sentence = "No verdict yet: this report holds no segmentation scores."
        return Verdict("pending", sentence, ("Pictures and curves alone cannot tell whether the translation helps.",))
    names = ", ".join(f"{c.name} {percent(mean_miou(c))}" for c in scored)
    sentence = "No verdict yet: the method itself has no segmentation score."
    return Verdict("pending", sentence, (f"Scores so far: {names}.",), _figures(roles))


def _sentence(ours: ContenderResult, source_only: ContenderResult, difference: Estimate | None) -> tuple[Tone, str]:
    start, base = f"{ours.name} scores {percent(mean_miou(ours))} mIoU", percent(mean_miou(source_only))
    if difference is None:
        return "unclear", f"{start} against {base} for {source_only.name}, with no seed in common: not compared."
    size = f"{abs(100 * difference.mean):.1f} points"
    match difference.outcome:
        case "above":
            return "gain", f"{start}, {size} above {source_only.name}."
        case "below":
            return "loss", f"{start}, {size} below {source_only.name}: here the translation does harm."
        case "unclear":
            return "unclear", (
                f"{start} against {base} for {source_only.name}: "
                f"not distinguishable at this number of seeds ({difference.seeds})."
            )
        case _:
            return "unclear", (
                f"{start} against {base} for {source_only.name}. With one seed, "
                "nothing shows whether that difference would repeat."
            )


def _remarks(contenders: Sequence[ContenderResult], roles: Roles) -> tuple[str, ...]:
    remarks: list[str] = []
    if roles.ours is not None and roles.source_only is not None:
        remarks += _interval_remark(compare(roles.ours, roles.source_only))
    if roles.ours is not None and roles.best_baseline is not None:
        remarks.append(_baseline_remark(roles.ours, roles.best_baseline))
    remarks += _missing_remarks(contenders)
    return tuple(remarks)


def _interval_remark(difference: Estimate | None) -> list[str]:
    if difference is None or difference.low is None:
        return []
    pairs = f"{difference.seeds} seeds"
    if difference.pairs != difference.seeds:
        pairs = f"{difference.pairs} pairs of a seed and a draw"
    return [
        f"The difference is {points(difference.mean)} points, 95\u00a0% interval {interval_text(difference)} "
        f"(paired t over {pairs})."
    ]


def _baseline_remark(ours: ContenderResult, baseline: ContenderResult) -> str:
    difference = compare(ours, baseline)
    start = f"Best baseline: {baseline.name} with {percent(mean_miou(baseline))}"
    if difference is None:
        return f"{start}, with no seed in common."
    size = f"{abs(100 * difference.mean):.1f} points"
    side = "below" if difference.mean >= 0 else "above"
    match difference.outcome:
        case "above" | "below":
            return f"{start}, which is {size} {side} {ours.name} (interval {interval_text(difference)})."
        case "unclear":
            return (
                f"{start}, which is not distinguishable from {ours.name} at this number of seeds "
                f"(difference {difference_text(difference)})."
            )
        case _:
            return f"{start}, which is {size} {side} {ours.name}; with one seed, nothing shows whether that repeats."


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
    if roles.source_only is not None:
        figures.append(_score_figure(roles.source_only, "source_only"))
    if roles.oracle is not None:
        figures.append(_score_figure(roles.oracle, "oracle"))
    gap = _gap_figure(roles)
    return (*figures, gap) if gap else tuple(figures)


def _score_figure(contender: ContenderResult, kind: Literal["ours", "source_only", "oracle"]) -> Figure:
    scores = finite(contender.miou)
    deviation = spread(scores)
    note = "one seed" if deviation is None else f"\u00b1\u00a0{100 * deviation:.1f}, {len(scores)} seeds"
    return Figure(contender.name, percent(mean_miou(contender)), note, kind)


def _gap_figure(roles: Roles) -> Figure | None:
    """Share of the way from source-only to oracle, only where both ends of that way and the gain are clear."""
    if roles.ours is None or roles.source_only is None or roles.oracle is None:
        return None
    gap, gain = compare(roles.oracle, roles.source_only), compare(roles.ours, roles.source_only)
    if gap is None or gain is None or gap.outcome != "above" or gain.outcome != "above":
        return None
    note = f"from {roles.source_only.name} to {roles.oracle.name}"
    return Figure("gap closed", percent(gain.mean / gap.mean, 0), note)


def assign_roles(contenders: Iterable[ContenderResult]) -> Roles:
    """Finds the method, what it is compared with, the oracle and the best of the baselines."""
    scored = [c for c in contenders if finite(c.miou)]

    def of(role: Role) -> list[ContenderResult]:
        return [c for c in scored if c.role == role]

    return Roles(
        ours=next(iter(of("ours")), None),
        source_only=next(iter(of("source_only")), None),
        oracle=max(of("oracle"), key=mean_miou, default=None),
        best_baseline=max(of("baseline"), key=mean_miou, default=None),
    )


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that are numbers."""
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def mean_miou(contender: ContenderResult) -> float:
    """Mean over the seeds with a finite score; needs at least one."""
    return fmean(finite(contender.miou))


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, or None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def compare(first: ContenderResult, second: ContenderResult) -> Estimate | None:
    """How far `first` is above `second`, paired by seed and draw; None where they have none in common."""
    return paired_difference(first.scores, second.scores) if common_pairs(first.scores, second.scores) else None


def class_means(contender: ContenderResult, num_classes: int) -> list[float | None]:
    """IoU of every class, averaged over the seeds in which the class has pixels; None where none has."""
    columns = [
        finite(row[index] for row in contender.per_class_iou if index < len(row)) for index in range(num_classes)
    ]
    return [fmean(column) if column else None for column in columns]
