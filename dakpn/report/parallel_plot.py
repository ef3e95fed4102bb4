"""Geometry of parallel coordinates: an axis for each setting and score, a line for each trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dakpn.report.plots import Tick, nice_ticks, number

HEIGHT = 330
_SIDE, _TOP, _BOTTOM, _BETWEEN = 84, 46, 14, 150
_MOST_CHOICES = 12


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Args:
        name: over it.
        low, high: its ends; of a choice, the first and the last number.
        is_log: a scale of factors.
        choices: texts of the numbers 0, 1, ... of a choice; none for a range.
    """

    name: str
    low: float
    high: float
    is_log: bool = False
    choices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ParallelLine:
    """A trial: its name, its role ("ours" for the best), and a value on each axis, None where it has none."""

    name: str
    role: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class DrawnAxis:
    """An axis in the drawing."""

    name: str
    x: float
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A trial in the drawing."""

    name: str
    role: str
    path: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ParallelPlot:
    """The whole drawing; the best trial comes last, over the others."""

    axes: tuple[DrawnAxis, ...]
    lines: tuple[DrawnLine, ...]
    size: tuple[int, int]
    top: int
    bottom: int


def plot_parallel(axes: Sequence[Axis], lines: Sequence[ParallelLine]) -> ParallelPlot:
    """The drawing."""
    xs = [_SIDE + i * _BETWEEN for i in range(len(axes))]
    drawn = sorted((_line(axes, xs, line) for line in lines), key=lambda line: line.role == "ours")
    return ParallelPlot(
        axes=tuple(DrawnAxis(axis.name, x, _ticks(axis)) for axis, x in zip(axes, xs, strict=True)),
        lines=tuple(drawn),
        size=(2 * _SIDE + (len(axes) - 1) * _BETWEEN, HEIGHT),
        top=_TOP,
        bottom=HEIGHT - _BOTTOM,
    )


def _line(axes: Sequence[Axis], xs: Sequence[float], line: ParallelLine) -> DrawnLine:
    """A value that is missing lifts the pen."""
    parts, dots, pen_down = [], [], False
    for axis, x, value in zip(axes, xs, line.values, strict=True):
        if value is not None:
            y = _at(axis, value)
            parts.append(f"{'L' if pen_down else 'M'}{x:g} {y:g}")
            dots.append((float(x), y))
        pen_down = value is not None
    return DrawnLine(line.name, line.role, "".join(parts), tuple(dots))


def _at(axis: Axis, value: float) -> float:
    low, high, at = (
        (math.log10(v) for v in (axis.low, axis.high, value)) if axis.is_log else (axis.low, axis.high, value)
    )
    share = (at - low) / (high - low) if high > low else 0.5
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _ticks(axis: Axis) -> tuple[Tick, ...]:
    if axis.choices:
        return tuple(Tick(_at(axis, i), text) for i, text in enumerate(axis.choices[:_MOST_CHOICES]))
    if axis.is_log:
        first, last = math.log10(axis.low), math.log10(axis.high)
        decades = [10.0**e for e in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
        marks = decades if len(decades) > 1 else [axis.low, axis.high]
    else:
        marks = nice_ticks(axis.low, axis.high, 4)
    return tuple(Tick(_at(axis, mark), number(mark, 6)) for mark in marks)
