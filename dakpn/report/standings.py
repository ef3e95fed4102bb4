"""Bars, class rows and the table: contenders laid out in percent of a track, ready to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from dakpn.report.data import ContenderResult
from dakpn.report.plots import Tick, nice_ticks
from dakpn.report.verdict import (
    assign_roles,
    class_means,
    compare,
    finite,
    mean_miou,
    percent,
    points,
    spread,
)

Role = Literal["ours", "baseline", "oracle", "rival"]
_DRAWN_FROM_BELOW: tuple[Role, ...] = ("rival", "oracle", "baseline", "ours")


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
    seeds: tuple[tuple[int, str], ...]
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
    """One class: every contender's mean IoU on a track, and ours minus the baseline."""

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
    roles: dict[int, Role] = {id(c): role for c, role in _with_roles(ordered)}
    baseline = assign_roles(ordered).baseline
    rows = tuple(_standing(c, roles[id(c)], baseline, top) for c in ordered)
    ticks = tuple(Tick(round(100 * v / top, 2), f"{100 * v:.0f}") for v in nice_ticks(0.0, top, 5))
    return Standings(rows, ticks)


def ranked(contenders: Sequence[ContenderResult]) -> list[ContenderResult]:
    """Contenders with a score, lowest mean first and references last."""
    scored = [c for c in contenders if finite(c.miou)]
    return sorted(scored, key=lambda c: (c.is_reference, mean_miou(c)))


def class_rows(contenders: Sequence[ContenderResult], names: Sequence[str], colors: Sequence[str]) -> list[ClassRow]:
    """One row a class, in the order of the train ids; empty when nobody has per-class scores."""
    placed: list[tuple[ContenderResult, Role]] = [
        (c, role) for c, role in _with_roles(ranked(contenders)) if c.per_class_iou
    ]
    if not placed:
        return []
    count = max(len(names), *(len(row) for c, _ in placed for row in c.per_class_iou))
    means: list[tuple[str, Role, list[float | None]]] = [(c.name, role, class_means(c, count)) for c, role in placed]
    roles = assign_roles(contenders)
    pair = [class_means(c, count) if c and c.per_class_iou else [None] * count for c in (roles.baseline, roles.ours)]
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
    text = f"By the mean over seeds, higher than the baseline in {share} classes"
    return f"{text}, lower in {', '.join(down)}." if down else f"{text}."


def _with_roles(contenders: Sequence[ContenderResult]) -> list[tuple[ContenderResult, Role]]:
    roles = assign_roles(contenders)

    def role_of(contender: ContenderResult) -> Role:
        if contender is roles.ours:
            return "ours"
        if contender is roles.baseline:
            return "baseline"
        return "oracle" if contender.is_reference else "rival"

    return [(c, role_of(c)) for c in contenders]


def _standing(contender: ContenderResult, role: Role, baseline: ContenderResult | None, top: float) -> Standing:
    scores = finite(contender.miou)
    deviation, accuracy = spread(scores), finite(contender.pixel_accuracy)
    gain, note = "", ""
    if baseline is not None and contender is not baseline:
        difference = compare(contender, baseline)
        gain = points(difference.gain)
        notes = {"unclear": "not distinguishable", "one seed": "too few seeds to tell"}
        note = notes.get(difference.outcome, "")
    seeds = tuple(
        (seed, percent(v) if finite([v]) else "not finite")
        for seed, v in zip(contender.seeds, contender.miou, strict=True)
    )
    dots = tuple(
        Dot(round(100 * v / top, 2), f"seed {seed}: {percent(v)}")
        for seed, v in zip(contender.seeds, contender.miou, strict=True)
        if finite([v])
    )
    return Standing(
        name=contender.name,
        role=role,
        width=round(100 * mean_miou(contender) / top, 2),
        dots=dots,
        score=f"{100 * mean_miou(contender):.1f}",
        deviation="" if deviation is None else f"\u00b1\u00a0{100 * deviation:.1f}",
        seeds=seeds,
        accuracy=percent(fmean(accuracy)) if accuracy else "",
        gain=gain,
        gain_note=note,
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
