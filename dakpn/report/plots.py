"""Geometry of the plots. The template draws it, so that every text in it is escaped in one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dakpn.report.data import Curve

WIDTH, HEIGHT = 380, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 10, 24
_SMOOTH_FROM = 60
_MOST_POINTS = 1200
_LOG_RATIO = 200.0
_TICK_DIGITS = 6
"""Ticks are round numbers, and no two of them may read alike."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in the drawing (or in percent of a track) and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its SVG path, a smoother one when there are many points, and what its values say."""

    name: str
    path: str
    smooth_path: str
    last: str
    not_finite: int
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """The curves of one group on common axes."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    is_log: bool
    window: int


@dataclass(frozen=True, slots=True)
class _Axes:
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    is_log: bool

    def x(self, step: float) -> float:
        share = (step - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high, at = (
            (math.log10(v) for v in (self.y_low, self.y_high, value))
            if self.is_log
            else (self.y_low, self.y_high, value)
        )
        return round(HEIGHT - _BOTTOM - (at - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)


def plot_groups(curves: Mapping[str, Curve]) -> list[Plot]:
    """One plot a group, in the order in which the groups first appear; groups without a number included."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        groups.setdefault(curve.group or name, {})[name] = curve
    return [_plot(title, members) for title, members in groups.items()]


def _plot(title: str, curves: Mapping[str, Curve]) -> Plot:
    axes = _fit_axes(list(curves.values()))
    window = max((len(c.values) // 40 for c in curves.values() if len(c.values) >= _SMOOTH_FROM), default=0)
    lines = tuple(_line(name, curve, axes, window) for name, curve in curves.items())
    x_ticks = tuple(Tick(axes.x(v), number(v)) for v in nice_ticks(axes.x_low, axes.x_high, 4))
    return Plot(title, lines, x_ticks, _y_ticks(axes), axes.is_log, window)


def _fit_axes(curves: Sequence[Curve]) -> _Axes:
    steps = [step for curve in curves for step in curve.steps]
    values = [v for curve in curves for v in curve.values if math.isfinite(v)]
    x_low, x_high = (min(steps), max(steps)) if steps else (0, 1)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low > 0 and high / low > _LOG_RATIO:
        decades = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return _Axes(x_low, x_high, 10.0 ** decades[0], 10.0 ** decades[1], True)
    if high - low < 1e-12:
        low, high = low - max(abs(low) * 0.1, 1e-3), high + max(abs(high) * 0.1, 1e-3)
    margin = 0.06 * (high - low)
    # A curve of positive numbers keeps its zero in sight when that costs little of the height.
    low = 0.0 if 0 <= low < 0.35 * high else low - margin
    return _Axes(x_low, x_high, low, high + margin, False)


def _y_ticks(axes: _Axes) -> tuple[Tick, ...]:
    if not axes.is_log:
        return tuple(Tick(axes.y(v), number(v, _TICK_DIGITS)) for v in nice_ticks(axes.y_low, axes.y_high, 4))
    first, last = round(math.log10(axes.y_low)), round(math.log10(axes.y_high))
    stride = max(1, math.ceil((last - first) / 4))
    return tuple(Tick(axes.y(10.0**e), number(10.0**e)) for e in range(first, last + 1, stride))


def _line(name: str, curve: Curve, axes: _Axes, window: int) -> Line:
    steps, values = np.asarray(curve.steps, np.float64), np.asarray(curve.values, np.float64)
    known = np.isfinite(values)
    smooth = _path(*_thin(steps, _moving_mean(values, window)), axes) if window > 1 else ""
    return Line(
        name=name,
        path=_path(*_thin(steps, values), axes),
        smooth_path=smooth,
        last=_last_value(values),
        not_finite=int((~known).sum()),
        dots=_lone_points(steps, values, axes),
    )


def _last_value(values: np.ndarray) -> str:
    if values.size == 0:
        return "none yet"
    return number(float(values[-1]), 4) if math.isfinite(values[-1]) else "not finite"


def _path(steps: np.ndarray, values: np.ndarray, axes: _Axes) -> str:
    """SVG path data; a value that is not finite lifts the pen."""
    parts, pen_down = [], False
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        if math.isfinite(value):
            parts.append(f"{'L' if pen_down else 'M'}{axes.x(step):g} {axes.y(value):g}")
        pen_down = math.isfinite(value)
    return "".join(parts)


def _lone_points(steps: np.ndarray, values: np.ndarray, axes: _Axes) -> tuple[tuple[float, float], ...]:
    """Points with a gap on either side: a path would not show them."""
    known = np.pad(np.isfinite(values), 1)
    lone = known[1:-1] & ~known[:-2] & ~known[2:]
    return tuple((axes.x(steps[i]), axes.y(values[i])) for i in np.flatnonzero(lone))


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the finite values around each point; gaps stay gaps."""
    known = np.isfinite(values)
    kernel = np.ones(2 * (window // 2) + 1)
    if values.size < kernel.size:
        return values
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    count = np.convolve(known.astype(float), kernel, "same")
    return np.where(known, total / np.maximum(count, 1.0), np.nan)


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most some thousand points: of each bin its lowest and highest, so that no spike is lost."""
    if values.size <= _MOST_POINTS:
        return steps, values
    keep: set[int] = {0, values.size - 1}
    for part in np.array_split(np.arange(values.size), _MOST_POINTS // 2):
        known = part[np.isfinite(values[part])]
        if known.size < part.size:
            keep.add(int(part[~np.isfinite(values[part])][0]))
        if known.size:
            keep.update((int(known[values[known].argmin()]), int(known[values[known].argmax()])))
    order = np.array(sorted(keep))
    return steps[order], values[order]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    stride = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / stride - 1e-9), math.floor(high / stride + 1e-9)
    return [index * stride for index in range(first, last + 1)]


def number(value: float, digits: int = 3) -> str:
    """A short number for an axis or a legend: 12000 -> "12k", 0.05 -> "0.05", with a true minus sign."""
    if value and abs(value) >= 10_000:
        exponent = 6 if abs(value) >= 1e6 else 3
        text = f"{value / 10**exponent:.{digits}g}{'M' if exponent == 6 else 'k'}"
    else:
        text = f"{round(value, 12) + 0.0:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"
    return text.replace("-", "\u2212")
