"""The page of a sweep: who won, the objective over the steps, and which settings good trials share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from dakpn.report.data import Curve
from dakpn.report.page import environment
from dakpn.report.parallel_plot import Axis, ParallelLine, plot_parallel
from dakpn.report.plots import HEIGHT, WIDTH, plot_groups
from dakpn.report.verdict import Verdict

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A row of the table of trials; texts are ready to be shown.

    Args:
        name: "trial 3".
        role: "ours" for the winner, "failed" or "".
        cells: by column.
    """

    name: str
    role: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class SweepPage:
    """All that the page shows.

    Args:
        title, subtitle, created: of the page.
        verdict: who won, by what, and whether a proxy may be believed.
        columns: headings of the cells.
        rows: the best trial first, failed ones last.
        failures, origins: trials, and why they failed or what they went on from.
        curves: trial -> objective over steps.
        axes, lines: of the parallel coordinates, settings first.
        winner: name of the best trial; None if all failed.
        winning_yaml: config that `dakpn train` takes.
        facts: how it was measured.
        config_yaml: config of the sweep.
    """

    title: str
    subtitle: str
    created: str
    verdict: Verdict
    columns: Sequence[str]
    rows: Sequence[SweepRow]
    failures: Sequence[tuple[str, str]]
    origins: Sequence[tuple[str, str]]
    curves: Mapping[str, Curve]
    axes: Sequence[Axis]
    lines: Sequence[ParallelLine]
    winner: str | None
    winning_yaml: str
    facts: Mapping[str, str]
    config_yaml: str


def render_sweep(page: SweepPage) -> str:
    """Renders a complete HTML document that loads nothing and runs nothing; every text in it is escaped."""
    return (
        environment()
        .get_template("sweep.html.j2")
        .render(
            page=page,
            plots=plot_groups(page.curves),
            plot_size=(WIDTH, HEIGHT),
            parallel=plot_parallel(page.axes, page.lines) if page.lines else None,
            # The only text that is not escaped is this file of our own.
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        )
    )
