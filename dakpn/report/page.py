"""Puts the parts together into one HTML file that needs nothing else: no network, no other file."""

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dakpn.report import pictures, plots, standings, verdict
from dakpn.report.data import ReportData
from dakpn.wording import duration

_HERE = Path(__file__).parent
_MOST_EXAMPLES = 12


def render_report(report: ReportData) -> str:
    """Render the page of a report as HTML.

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
        "columns": pictures.line_up(report),
        "examples": [pictures.example_view(example, report) for example in shown],
        "left_out": len(report.examples) - len(shown),
        "chips": pictures.class_chips(shown, report.class_names, colors),
        "plots": plots.plot_curves(report.curves),
        "timings": _timings(report),
        "detail": report.detail,
        "label_plot": plots.plot_labels(report.detail.label_curves) if report.detail else None,
        "contact": pictures.contact_sheet(report.detail),
        "worst": pictures.worst_cases(report),
        # The only texts that are not escaped are these two files of our own and the plots, which escape theirs.
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
    """(r, g, b) as a CSS color."""
    red, green, blue = (int(part) for part in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _timings(report: ReportData) -> list[tuple[str, str, float]]:
    """(part, duration, width of its bar in percent)."""
    known = [v for v in report.timings.values() if math.isfinite(v) and v > 0]
    longest = max(known, default=1.0)
    return [
        (name, duration(v), round(100 * v / longest, 1) if v in known else 0.0) for name, v in report.timings.items()
    ]
