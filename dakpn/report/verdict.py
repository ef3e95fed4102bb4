"""The sentences at the top of the page. They state what the scores say and nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dakpn.report.data import ContenderResult
from dakpn.report.scores import (
    Difference,
    Roles,
    assign_roles,
    compare,
    finite,
    mean_miou,
    spread,
)

Tone = Literal["gain", "loss", "unclear", "pending"]


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
