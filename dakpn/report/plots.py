"""The plots of the pages: drawn by matplotlib, and put into the page as SVG that is a part of it.

Colors are variables of the style sheet, so that a plot follows the page into the dark; beside them lines differ in
dashes and marks, for people who do not see them. Texts stay texts, in the page's font, and are never read as formulas.
The same data give the same bytes. Legends are lists of the page, which wrap on a phone. matplotlib is loaded by the
first plot.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from dakpn.report.data import Curve, LabelCurve, LabelPoint
from dakpn.report.inline_svg import COLORS, figure_of, inline_svg, printable, tip_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES = (380, 200)
_LABELS, _LABELS_ON_PHONES = (760, 380), (380, 320)
_PARALLEL_HEIGHT, _PARALLEL_SIDE, _PARALLEL_STEP = 330, 84, 150
_SMOOTH_FROM = 60
_LOG_RATIO = 200.0
_TICK_DIGITS = 6
"""Ticks are round numbers, and no two of them may read alike."""
_MOST_CHOICES = 12

_ROLES = {"ours": ("ours", "o"), "source_only": ("source", "s"), "oracle": ("oracle", "D")}
_MARKS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖"}
_OTHERS = tuple(zip(("c1", "c2", "c3", "c4", "c5", "c6", "c0"), ("^", "v", "P", "X", "^", "v", "P"), strict=True))
_DASHES = {"solid": "-", "dashed": (0, (5, 2.5)), "dotted": (0, (1.5, 1.5))}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a plot's legend.

    Attributes:
        name: Name of the line.
        color: a variable of the style sheet.
        dash: solid, dashed or dotted.
        mark: the sign of its points; may be empty.
        value: its last value, as text.
        not_finite: number of values that are not finite, and were left out.
    """

    name: str
    color: str
    dash: str = "solid"
    mark: str = ""
    value: str = ""
    not_finite: int = 0


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with its legend.

    Attributes:
        title: over it; may be empty.
        svg: for wide pages, or for all.
        svg_on_phones: in place of it on narrow ones.
        width: in pixels at which texts have their own size.
        legend: a line each.
        is_log: values are on a log scale.
        is_smooth: thick lines are moving means.
    """

    title: str
    svg: Markup
    legend: tuple[Entry, ...] = ()
    svg_on_phones: Markup | None = None
    width: int = 0
    is_log: bool = False
    is_smooth: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of parallel coordinates.

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

    def place(self, value: float) -> float:
        """Where a value stands, from 0 (low) to 1 (high)."""
        low, high, at = map(math.log10, (self.low, self.high, value)) if self.is_log else (self.low, self.high, value)
        return (at - low) / (high - low) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class ParallelLine:
    """A trial: its name, its role ("ours" for the best), and a value on each axis, None where it has none."""

    name: str
    role: str
    values: Sequence[float | None]


def plot_curves(curves: Mapping[str, Curve], best: str | None = None) -> list[Plot]:
    """One plot over training steps for each group, in the order in which the groups first appear.

    Args:
        curves: name -> curve; values that are not finite leave a gap.
        best: name of a curve that stands out; all others are drawn alike. None: each has its own color.
    """
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        groups.setdefault(curve.group or name, {})[name] = curve
    return [_plot_group(title, members, best) for title, members in groups.items()]


def plot_labels(curves: Sequence[LabelCurve]) -> Plot | None:
    """MIoU over the number of real labelled images: a place for each number, not a scale.

    None where there is a single number of images, which is no curve.
    """
    counts = sorted({point.real_labelled for curve in curves for point in curve.points})
    if len(counts) < 2:
        return None
    looks = iter(_OTHERS * (1 + len(curves) // len(_OTHERS)))
    chosen = [_ROLES[curve.role] if curve.role in _ROLES else next(looks) for curve in curves]
    shown = [(curve, color, mark) for curve, (color, mark) in zip(curves, chosen, strict=True)]
    wide, narrow = (_label_svg(shown, counts, size) for size in (_LABELS, _LABELS_ON_PHONES))
    legend = tuple(
        Entry(curve.name, color, _dash_of(curve.role), _MARKS[mark], f"{100 * curve.points[-1].miou:.1f}")
        for curve, color, mark in shown
    )
    return Plot("", wide, legend, narrow, _LABELS[0])


def plot_parallel(axes: Sequence[Axis], lines: Sequence[ParallelLine]) -> Plot:
    """Parallel coordinates: an axis for each setting and score, a line for each trial, and the best over the others."""
    width = 2 * _PARALLEL_SIDE + (len(axes) - 1) * _PARALLEL_STEP
    with figure_of(width, _PARALLEL_HEIGHT, "parallel coordinates") as figure:
        figure.set_layout_engine("none")
        side = _PARALLEL_SIDE / width
        plot = figure.add_axes((side, 0.04, 1 - 2 * side, 0.82))
        plot.set(xlim=(0, max(len(axes) - 1, 1e-6)), ylim=(0, 1))
        plot.axis("off")
        tips = []
        for line in sorted(lines, key=lambda line: line.role == "ours"):
            color, thick = ("ours", 3.2) if line.role == "ours" else ("source", 1.1)
            places = [math.nan if v is None else a.place(v) for a, v in zip(axes, line.values, strict=True)]
            _draw(
                plot, range(len(axes)), places, color, thick, marker="o", markersize=4.5, gid=tip_mark(tips, line.name)
            )
        for order, axis in enumerate(axes):
            plot.axvline(order, color=COLORS["rule"], linewidth=1, zorder=0, clip_on=False)
            above = 1.03 if order % 2 else 1.10
            plot.text(order, above, printable(axis.name), ha="center", color=COLORS["ink"], fontweight="bold")
            for value, text in _parallel_ticks(axis):
                at = order + 7 / _PARALLEL_STEP, axis.place(value)
                plot.text(*at, printable(text), va="center", color=COLORS["soft"])
        svg = inline_svg(figure, "Parallel coordinates: a line for each trial through its settings and scores", tips)
    return Plot("", svg, width=width)


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    from matplotlib.ticker import MaxNLocator

    if not high > low:
        return [low]
    ticks = MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)
    reach = 1e-9 * (high - low)
    return [float(tick) for tick in ticks if low - reach <= tick <= high + reach]


def number(value: float, digits: int = 3) -> str:
    """A short number for an axis or a legend: 12000 -> "12k", 0.05 -> "0.05", with a true minus sign."""
    if value and abs(value) >= 10_000:
        exponent = 6 if abs(value) >= 1e6 else 3
        text = f"{value / 10**exponent:.{digits}g}{'M' if exponent == 6 else 'k'}"
    else:
        text = f"{round(value, 12) + 0.0:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    return text.replace("-", "\u2212")


def _plot_group(title: str, curves: Mapping[str, Curve], best: str | None) -> Plot:
    window = max((len(c.values) // 40 for c in curves.values() if len(c.values) >= _SMOOTH_FROM), default=0)
    looks = [(f"c{i % 5}", list(_DASHES)[i // 5 % len(_DASHES)]) for i in range(len(curves))]
    entries, tips = [], []
    with figure_of(*_CURVES, f"curves {title}") as figure:
        plot = figure.add_subplot()
        is_log = _fit(plot, list(curves.values()))
        for (name, curve), (color, dash) in zip(curves.items(), looks, strict=True):
            steps, values = np.asarray(curve.steps, np.float64), np.asarray(curve.values, np.float64)
            thick = 1.8
            if best is not None:
                color, thick = ("ours", 2.6) if name == best else ("source", 1.0)
            entry = Entry(name, color, dash, "", _last_value(values), int((~np.isfinite(values)).sum()))
            entries.append(entry)
            style: dict[str, Any] = {"linestyle": _DASHES[dash], "gid": tip_mark(tips, f"{name}: {entry.value}")}
            smooth = _moving_mean(values, window) if best is None and window > 1 else None
            style["zorder"] = 4 if name == best else 3
            if smooth is not None:
                _draw(plot, steps, values, color, 1.0, alpha=0.35, zorder=2)
                _draw(plot, steps, smooth, color, thick, **style)
            else:
                _draw(plot, steps, values, color, thick, **style)
            _draw_lone_points(plot, steps, values, color)
        svg = inline_svg(figure, f"{title} over training steps", tips)
    legend = tuple(entries) if best is None else _legend_of_best(entries, best)
    return Plot(title, svg, legend, width=_CURVES[0], is_log=is_log, is_smooth=best is None and window > 1)


def _legend_of_best(entries: Sequence[Entry], best: str) -> tuple[Entry, ...]:
    first = [Entry(f"{e.name}, the best", e.color, "solid", "", e.value) for e in entries if e.name == best]
    return (*first, *([Entry("the others", "source")] if len(entries) > len(first) else []))


def _fit(plot: "Axes", curves: Sequence[Curve]) -> bool:
    """Sets limits and ticks; tells whether the scale of values is a logarithmic one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    steps = [step for curve in curves for step in curve.steps]
    values = [v for curve in curves for v in curve.values if math.isfinite(v)]
    first, last = (min(steps), max(steps)) if steps else (0, 1)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    is_log = low > 0 and high / low > _LOG_RATIO
    if is_log:
        decades = math.floor(math.log10(low)), math.ceil(math.log10(high))
        plot.set_yscale("log")
        low, high = 10.0 ** decades[0], 10.0 ** decades[1]
        stride = max(1, math.ceil((decades[1] - decades[0]) / 4))
        ticks = [10.0**e for e in range(decades[0], decades[1] + 1, stride)]
        plot.yaxis.set_minor_locator(FixedLocator([]))
    else:
        if high - low < 1e-12:
            low, high = low - max(abs(low) * 0.1, 1e-3), high + max(abs(high) * 0.1, 1e-3)
        margin = 0.06 * (high - low)
        # A curve of positive numbers keeps its zero in sight when that costs little of the height.
        low, high = (0.0 if 0 <= low < 0.35 * high else low - margin), high + margin
        ticks = round_ticks(low, high, 5)
    plot.set(xlim=(first, last if last > first else first + 1), ylim=(low, high))
    plot.yaxis.set_major_locator(FixedLocator(ticks))
    plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, _TICK_DIGITS)))
    plot.xaxis.set_major_locator(FixedLocator(round_ticks(first, last, 4)))
    plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    return is_log


def _label_svg(shown: Sequence[tuple[LabelCurve, str, str]], counts: Sequence[int], size: tuple[int, int]) -> Markup:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    ends = [v for curve, *_ in shown for p in curve.points for v in (p.miou, p.low, p.high) if v is not None]
    margin = max(0.01, 0.06 * (max(ends) - min(ends)))
    low, high = max(0.0, min(ends) - margin), min(1.0, max(ends) + margin)
    apart = min(0.07, 0.6 / len(shown))
    with figure_of(*size, f"labels {size[0]}") as figure:
        plot = figure.add_subplot()
        tips: list[str] = []
        for order, (curve, color, mark) in enumerate(shown):
            shift = apart * (order - (len(shown) - 1) / 2)
            places = [counts.index(point.real_labelled) + shift for point in curve.points]
            above = 4 if curve.role == "ours" else 3
            thick = 3.0 if curve.role == "ours" else 1.6
            style = {"linestyle": _DASHES[_dash_of(curve.role)], "zorder": above}
            _draw(plot, places, [100 * p.miou for p in curve.points], color, thick, **style)
            for at, point in zip(places, curve.points, strict=True):
                if point.low is not None and point.high is not None:
                    bar = {"marker": "_", "markersize": 6, "alpha": 0.75, "zorder": above - 1}
                    _draw(plot, [at, at], [100 * point.low, 100 * point.high], color, 1.5, **bar)
                tip = tip_mark(tips, _label_tip(curve.name, point))
                _draw(plot, [at], [100 * point.miou], color, 0, marker=mark, markersize=7, gid=tip, zorder=above)
        plot.set(xlim=(-0.5, len(counts) - 0.5), ylim=(100 * low, 100 * high))
        plot.set_xlabel("real labelled images", color=COLORS["soft"])
        plot.set_ylabel("mIoU, %", color=COLORS["soft"])
        plot.xaxis.set_major_locator(FixedLocator(list(range(len(counts)))))
        plot.xaxis.set_major_formatter(FuncFormatter(lambda at, _: str(counts[round(at)])))
        plot.yaxis.set_major_locator(FixedLocator(round_ticks(100 * low, 100 * high, 5)))
        plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, _TICK_DIGITS)))
        return inline_svg(figure, "mIoU over the number of real labelled images", tips)


def _label_tip(name: str, point: LabelPoint) -> str:
    text = f"{name}, {point.real_labelled} real labelled: {100 * point.miou:.1f} %"
    if point.low is None or point.high is None:
        return f"{text} (one seed, no interval)"
    return f"{text} ({100 * point.low:.1f} to {100 * point.high:.1f})"


def _dash_of(role: str) -> str:
    return {"source_only": "dashed", "oracle": "dotted"}.get(role, "solid")


def _parallel_ticks(axis: Axis) -> list[tuple[float, str]]:
    if axis.choices:
        return [(float(i), text) for i, text in enumerate(axis.choices[:_MOST_CHOICES])]
    marks = round_ticks(axis.low, axis.high, 4)
    if axis.is_log:
        first, last = math.log10(axis.low), math.log10(axis.high)
        marks = [10.0**e for e in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
        marks = marks if len(marks) > 1 else [axis.low, axis.high]
    return [(mark, number(mark, _TICK_DIGITS)) for mark in marks]


def _draw(plot: "Axes", x: Any, y: Any, color: str, width: float, **style: Any) -> None:
    look = {"markeredgewidth": 1.5, "linestyle": "-" if width else "none"}
    plot.plot(x, y, color=COLORS[color], linewidth=width, clip_on=False, **(look | style))


def _draw_lone_points(plot: "Axes", steps: np.ndarray, values: np.ndarray, color: str) -> None:
    """Points with a gap on either side: a line would not show them."""
    known = np.pad(np.isfinite(values), 1)
    lone = known[1:-1] & ~known[:-2] & ~known[2:]
    if lone.any():
        _draw(plot, steps[lone], values[lone], color, 0, marker="o", markersize=4)


def _last_value(values: np.ndarray) -> str:
    if values.size == 0:
        return "none yet"
    return number(float(values[-1]), 4) if math.isfinite(values[-1]) else "not finite"


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the finite values around each point; gaps stay gaps."""
    known = np.isfinite(values)
    kernel = np.ones(2 * (window // 2) + 1)
    if values.size < kernel.size:
        return values
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    count = np.convolve(known.astype(float), kernel, "same")
    return np.where(known, total / np.maximum(count, 1.0), np.nan)
