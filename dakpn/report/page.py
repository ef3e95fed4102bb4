"""Puts the parts together into one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dakpn.report import label_plot, pictures, plots, standings, verdict
from dakpn.report.data import IGNORE_ID, ParameterMap, ReportData, TranslationExample
from dakpn.report.evaluation_data import EvaluationDetail

_HERE = Path(__file__).parent
_MOST_EXAMPLES = 12
_MOST_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class MapView:
    """A parameter map ready to be drawn, with its legend."""

    name: str
    uri: str
    gradient: str
    low: str
    high: str
    centre: str
    centre_at: float
    unit: str
    seen: str


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A card: the pictures of one example as data URIs."""

    key: str
    before: str
    after: str
    overlay: str
    maps: tuple[MapView, ...]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class WorstView:
    """A worst case of label preservation, as data URIs and texts."""

    contender: str
    key: str
    before: str
    after: str
    input_uri: str
    output_uri: str
    overlay_uri: str


@dataclass(frozen=True, slots=True)
class ClassChip:
    """A class with its colour, for legends."""

    name: str
    color: str


def render_report(report: ReportData) -> str:
    """Renders the page.

    Args:
        report: whatever is known so far; only the title is required.

    Returns:
        A complete HTML document. Every text in it is escaped, every picture is embedded, and its policy
        header forbids it to load anything or to run any script but its own.
    """
    shown = report.examples[:_MOST_EXAMPLES]
    colors = [css_color(row) for row in pictures.color_table(report.class_colors)]
    rows = standings.class_rows(report.contenders, report.class_names, colors)
    script = (_HERE / "wipe.js").read_text(encoding="utf-8")
    context: dict[str, Any] = {
        "report": report,
        "verdict": verdict.judge(report.contenders),
        "standings": standings.lay_out(report.contenders),
        "class_rows": rows,
        "class_summary": standings.class_summary(rows),
        "columns": _columns(report),
        "examples": [_example(example, report) for example in shown],
        "left_out": len(report.examples) - len(shown),
        "chips": _chips(shown, report.class_names, colors),
        "plots": plots.plot_groups(report.curves),
        "plot_size": (plots.WIDTH, plots.HEIGHT),
        "timings": _timings(report),
        "detail": report.detail,
        "label_plot": label_plot.plot_labels(report.detail.label_curves) if report.detail else None,
        "contact": _contact(report.detail),
        "worst": _worst(report),
        # The only texts that are not escaped are these two files of our own.
        "style": Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }
    return environment().get_template("template.html.j2").render(context)


@cache
def environment() -> Environment:
    """The templates of this folder; what they show is escaped."""
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def css_color(rgb: Sequence[int] | np.ndarray) -> str:
    """(r, g, b) as a CSS colour."""
    red, green, blue = (int(part) for part in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "0.8 s", "3 min 20 s", "2 h 5 min"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _columns(report: ReportData) -> list[tuple[str, str, str]]:
    """Side by side: (before, after, real) thumbnails, with "" where one of them is missing."""
    examples = report.examples[:_MOST_COLUMNS]
    rows = (
        [_thumbnail(example.before) for example in examples],
        [_thumbnail(example.after) for example in examples],
        [_thumbnail(image) for image in report.real_samples[:_MOST_COLUMNS]],
    )
    return list(zip_longest(*rows, fillvalue=""))


def _contact(detail: EvaluationDetail | None) -> list[tuple[str, list[str]]]:
    rows = detail.contact if detail else ()
    return [(row.name, [_thumbnail(picture) for picture in row.pictures]) for row in rows if row.pictures]


def _worst(report: ReportData) -> list[WorstView]:
    return [
        WorstView(
            contender=case.contender,
            key=case.key,
            before=verdict.percent(case.accuracy_before, 0),
            after=verdict.percent(case.accuracy_after, 0),
            input_uri=_thumbnail(case.before),
            output_uri=_thumbnail(case.after),
            overlay_uri=pictures.overlay_uri(case.after, case.prediction, report.class_colors, pictures.THUMBNAIL),
        )
        for case in (report.detail.worst if report.detail else ())
    ]


def _thumbnail(image: np.ndarray) -> str:
    return pictures.picture_uri(image, pictures.THUMBNAIL)


def _example(example: TranslationExample, report: ReportData) -> ExampleView:
    overlay = ""
    if example.label is not None:
        overlay = pictures.overlay_uri(example.after, example.label, report.class_colors)
    change = pictures.difference_map(example.before, example.after)
    maps = [_map("visible change", change), *(_map(name, part) for name, part in example.maps.items())]
    height, width = example.before.shape[:2]
    return ExampleView(
        key=example.key,
        before=pictures.picture_uri(example.before, pictures.LARGE),
        after=pictures.picture_uri(example.after, pictures.LARGE),
        overlay=overlay,
        maps=tuple(maps),
        width=width,
        height=height,
    )


def _map(name: str, parameter: ParameterMap) -> MapView:
    known = parameter.values[np.isfinite(parameter.values)]
    seen = "no finite value"
    if known.size:
        low, high = (plots.number(float(v), 2) for v in np.percentile(known, (5, 95)))
        seen = f"{low} everywhere" if low == high else f"{low} to {high}"
    missing = parameter.values.size - known.size
    at = 100 * (parameter.centre - parameter.low) / (parameter.high - parameter.low)
    return MapView(
        name=name,
        uri=pictures.map_uri(parameter),
        gradient=pictures.legend_gradient(parameter),
        low=plots.number(parameter.low),
        high=plots.number(parameter.high),
        centre=plots.number(parameter.centre) if 5 < at < 95 else "",
        centre_at=round(at, 2),
        unit=parameter.unit,
        seen=f"{seen}; {missing} pixels not finite" if missing and known.size else seen,
    )


def _chips(examples: Sequence[TranslationExample], names: Sequence[str], colors: Sequence[str]) -> list[ClassChip]:
    """The classes that occur in the labels shown."""
    present: set[int] = set()
    for example in examples:
        if example.label is not None:
            present.update(np.unique(example.label).tolist())
    return [ClassChip(names[i] if i < len(names) else f"class {i}", colors[i]) for i in sorted(present - {IGNORE_ID})]


def _timings(report: ReportData) -> list[tuple[str, str, float]]:
    """(part, duration, width of its bar in percent)."""
    known = [v for v in report.timings.values() if math.isfinite(v) and v > 0]
    longest = max(known, default=1.0)
    return [
        (name, duration(v), round(100 * v / longest, 1) if v in known else 0.0) for name, v in report.timings.items()
    ]
