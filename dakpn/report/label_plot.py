"""Geometry of mIoU over the number of real labelled images: a place for each number, not a scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dakpn.report.data import LabelCurve, LabelPoint
from dakpn.report.plots import Tick, nice_ticks

WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 40, 18, 12, 44
_COLORS = 7
_SPREAD = 5.0
"""Pixels between the marks of neighbouring contenders, so that their intervals do not hide one another."""


@dataclass(frozen=True, slots=True)
class LabelMark:
    """A point with its interval, and the words a pointer shows."""

    x: float
    y: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One contender's line; `color` is a class of the style sheet."""

    name: str
    role: str
    color: str
    path: str
    marks: tuple[LabelMark, ...]
    last: str


@dataclass(frozen=True, slots=True)
class LabelPlot:
    """All contenders on common axes."""

    lines: tuple[LabelLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    size: tuple[int, int] = (WIDTH, HEIGHT)


def plot_labels(curves: Sequence[LabelCurve]) -> LabelPlot | None:
    """The plot; None where there is a single number of images, which is no curve."""
    counts = sorted({point.real_labelled for curve in curves for point in curve.points})
    if len(counts) < 2:
        return None
    places = {n: LEFT + 24 + i * (WIDTH - LEFT - RIGHT - 48) / (len(counts) - 1) for i, n in enumerate(counts)}
    ends = [v for c in curves for p in c.points for v in (p.miou, p.low, p.high) if v is not None]
    low, high = min(ends), max(ends)
    margin = max(0.01, 0.06 * (high - low))
    low, high = max(0.0, low - margin), min(1.0, high + margin)

    def at(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    lines, others = [], 0
    for number, curve in enumerate(curves):
        shift = _SPREAD * (number - (len(curves) - 1) / 2)
        color = {"ours": "ours", "source_only": "source_only", "oracle": "oracle"}.get(curve.role, "")
        if not color:
            color, others = f"r{others % _COLORS}", others + 1
        marks = tuple(_mark(curve.name, p, round(places[p.real_labelled] + shift, 1), at) for p in curve.points)
        path = "M" + "L".join(f"{mark.x:g} {mark.y:g}" for mark in marks)
        last = f"{100 * curve.points[-1].miou:.1f}"
        lines.append(LabelLine(curve.name, curve.role, color, path, marks, last))
    x_ticks = tuple(Tick(round(x, 1), f"{n}") for n, x in places.items())
    y_ticks = tuple(Tick(at(v), f"{100 * v:.0f}") for v in nice_ticks(low, high, 5))
    return LabelPlot(tuple(lines), x_ticks, y_ticks)


def _mark(name: str, point: LabelPoint, x: float, at: Callable[[float], float]) -> LabelMark:
    text = f"{name}, {point.real_labelled} real labelled: {100 * point.miou:.1f} %"
    if point.low is None or point.high is None:
        return LabelMark(x, at(point.miou), None, None, text)
    text += f" ({100 * point.low:.1f} to {100 * point.high:.1f})"
    return LabelMark(x, at(point.miou), at(point.low), at(point.high), text)
