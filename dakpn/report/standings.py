"""Bars, class rows and the table: contenders laid out in percent of a track, ready to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from dakpn.evaluation.statistics import Role, difference_text, points
from dakpn.report.data import ContenderResult
from dakpn.report.plots import round_ticks
from dakpn.report.verdict import (
    assign_roles,
    class_means,
    compare,
    finite,
    mean_miou,
    percent,
    spread,
)

_DRAWN_FROM_BELOW: tuple[Role, ...] = ("baseline", "other", "oracle", "source_only", "ours")


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on a track: its place in percent and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A seed's score on a track, with the words a pointer shows."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One contender: its bar (percent of the track), its seeds, and its row in the table."""

    name: str
    role: Role
    width: float
    dots: tuple[Dot, ...]
    score: str
    deviation: str
    seeds: tuple[tuple[str, str], ...]
    accuracy: str
    gain: str
    gain_note: str
    has_classes: bool


@dataclass(frozen=True, slots=True)
class Standings:
    """All contenders from lowest to highest mean, the reference last, on one axis that starts at 0."""

    rows: tuple[Standing, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class: every contender's mean IoU on a track, and ours minus source-only."""

    name: str
    color: str
    marks: tuple[tuple[Role, Dot], ...]
    bridge: tuple[float, float] | None
    gain: str
    direction: Literal["up", "down", "level", ""]
    cells: tuple[str, ...]


def lay_out(contenders: Sequence[ContenderResult]) -> Standings:
    """Places contenders with at least one finite score; the others are named in the verdict's remarks."""
    ordered = ranked(contenders)
    best = max((max(finite(c.miou)) for c in ordered), default=0.0)
    top = min(1.0, max(0.05, best * 1.06))
    source_only = assign_roles(ordered).source_only
    rows = tuple(_standing(c, source_only, top) for c in ordered)
    ticks = tuple(Tick(round(100 * v / top, 2), f"{100 * v:.0f}") for v in round_ticks(0.0, top, 5))
    return Standings(rows, ticks)


def ranked(contenders: Sequence[ContenderResult]) -> list[ContenderResult]:
    """Contenders with a score, lowest mean first and the oracle last."""
    scored = [c for c in contenders if finite(c.miou)]
    return sorted(scored, key=lambda c: (c.role == "oracle", mean_miou(c)))


def class_rows(contenders: Sequence[ContenderResult], names: Sequence[str], colors: Sequence[str]) -> list[ClassRow]:
    """One row a class, in the order of the train ids; empty when nobody has per-class scores."""
    placed = [c for c in ranked(contenders) if c.per_class_iou]
    if not placed:
        return []
    count = max(len(names), *(len(row) for c in placed for row in c.per_class_iou))
    means: list[tuple[str, Role, list[float | None]]] = [(c.name, c.role, class_means(c, count)) for c in placed]
    roles = assign_roles(contenders)
    pair = [class_means(c, count) if c and c.per_class_iou else [None] * count for c in (roles.source_only, roles.ours)]
    return [
        _class_row(
            names[i] if i < len(names) else f"class {i}",
            colors[i] if i < len(colors) else "",
            [(name, role, values[i]) for name, role, values in means],
            (pair[0][i], pair[1][i]),
        )
        for i in range(count)
    ]


def class_summary(rows: Sequence[ClassRow]) -> str:
    """How many classes go which way, in words; empty without a comparison."""
    compared = [row for row in rows if row.direction]
    if not compared:
        return ""
    up = sum(row.direction == "up" for row in compared)
    down = [f"{row.name} ({row.gain})" for row in compared if row.direction == "down"]
    share = f"all {up}" if up == len(compared) else f"{up} of {len(compared)}"
    text = f"By the mean over seeds, higher than source-only in {share} classes"
    return f"{text}, lower in {', '.join(down)}." if down else f"{text}."


def _standing(contender: ContenderResult, source_only: ContenderResult | None, top: float) -> Standing:
    scores = finite(contender.miou)
    deviation, accuracy = spread(scores), finite(contender.pixel_accuracy)
    compared = source_only is not None and contender is not source_only
    difference = compare(contender, source_only) if compared and source_only else None
    several_draws = len(set(contender.draws)) > 1
    draws = contender.draws or [0] * len(contender.seeds)
    names = [
        f"seed {seed}, draw {draw}" if several_draws else f"seed {seed}"
        for seed, draw in zip(contender.seeds, draws, strict=True)
    ]
    seeds = tuple(
        (name, percent(v) if finite([v]) else "not finite") for name, v in zip(names, contender.miou, strict=True)
    )
    dots = tuple(
        Dot(round(100 * v / top, 2), f"{name}: {percent(v)}")
        for name, v in zip(names, contender.miou, strict=True)
        if finite([v])
    )
    return Standing(
        name=contender.name,
        role=contender.role,
        width=round(100 * mean_miou(contender) / top, 2),
        dots=dots,
        score=f"{100 * mean_miou(contender):.1f}",
        deviation="" if deviation is None else f"\u00b1\u00a0{100 * deviation:.1f}",
        seeds=seeds,
        accuracy=percent(fmean(accuracy)) if accuracy else "",
        gain=difference_text(difference),
        gain_note="not distinguishable" if difference and difference.outcome == "unclear" else "",
        has_classes=bool(contender.per_class_iou),
    )


def _class_row(
    name: str,
    color: str,
    scores: Sequence[tuple[str, Role, float | None]],
    pair: tuple[float | None, float | None],
) -> ClassRow:
    known: list[tuple[Role, Dot]] = [
        (role, Dot(round(100 * v, 2), f"{who}: {percent(v)}")) for who, role, v in scores if v is not None
    ]
    marks = tuple(sorted(known, key=lambda mark: _DRAWN_FROM_BELOW.index(mark[0])))
    cells = tuple("\u2013" if v is None else f"{100 * v:.1f}" for _, _, v in scores)
    base, ours = pair
    if base is None or ours is None:
        return ClassRow(name, color, marks, None, "", "", cells)
    change = round(100 * (ours - base), 1)
    direction = "level" if change == 0 else "up" if change > 0 else "down"
    bridge = (round(100 * min(base, ours), 2), round(100 * abs(ours - base), 2))
    return ClassRow(name, color, marks, bridge, points(ours - base), direction, cells)
