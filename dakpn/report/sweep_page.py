"""The page of a sweep: who won, the objective over the steps, and which settings good trials share."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dakpn.config import DimensionConfig, PbtConfig, TuneConfig
from dakpn.config_file import to_yaml
from dakpn.datasets import manifest
from dakpn.report.data import Curve
from dakpn.report.evaluation_page import creation_time
from dakpn.report.page import environment
from dakpn.report.plots import Axis, ParallelLine, plot_curves, plot_parallel
from dakpn.report.verdict import Figure, Verdict
from dakpn.tuning.outcome import (
    SweepOutcome,
    TrialOutcome,
    correlation_sentence,
    lead_sentence,
    ranked,
    shown_miou,
    shown_objective,
    shown_value,
)
from dakpn.tuning.space import winning_yaml
from dakpn.wording import counted, duration

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
        title, subtitle, created: Title, subtitle and time of making of the page.
        verdict: who won, by what, and whether a proxy may be believed.
        columns: headings of the cells.
        rows: the best trial first, failed ones last.
        failures, origins: trials, and why they failed or what they went on from.
        curves: trial -> objective over steps.
        axes, lines: Axes and lines of the parallel coordinates, settings first.
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
            plots=plot_curves(page.curves, page.winner or ""),
            parallel=plot_parallel(page.axes, page.lines) if page.lines else None,
            # The only texts that are not escaped are this file of our own and the plots, which escape theirs.
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        )
    )


_ORDER = {"max": "more is better", "min": "less is better"}
_TITLES = {
    "miou": "mIoU on the validation split, %",
    "colors": "Colors off by, grey levels",
    "frechet": "Fréchet distance",
    "kernel": "Kernel distance",
}


def sweep_page(config: TuneConfig, outcome: SweepOutcome) -> SweepPage:
    """All that the page of a sweep shows."""
    space, winner = config.tune.space, outcome.winner
    ranking = ranked(config, outcome.trials)
    trials = [*ranking, *(trial for trial in outcome.trials if trial not in ranking)]
    measured = any(trial.miou is not None for trial in trials)
    names = _short_names(config)
    return SweepPage(
        title="Sweep of " + ", ".join(names.values()),
        subtitle=f"{config.synthetic} → {config.real}",
        created=creation_time(),
        verdict=_verdict(config, outcome),
        columns=["ended", "step", config.tune.objective.kind, *(["mIoU, %"] if measured else []), *space, "time"],
        rows=[_row(config, outcome, trial, measured) for trial in trials],
        failures=_by_text((trial, trial.record.failure or "") for trial in trials),
        origins=_by_text((trial, _origins(outcome, trial)) for trial in trials),
        curves={_name(trial): _curve(config, trial) for trial in trials if trial.record.scores},
        axes=[*(_axis(names[key], dimension) for key, dimension in space.items()), *_score_axes(config, ranking)],
        lines=[_line(config, outcome, trial) for trial in ranking],
        winner=_name(winner) if winner else None,
        winning_yaml=winning_yaml(config, winner.record.values) if winner else "",
        facts=_facts(config, outcome),
        config_yaml=to_yaml(config),
    )


def _name(trial: TrialOutcome) -> str:
    return f"trial {trial.number}"


def _verdict(config: TuneConfig, outcome: SweepOutcome) -> Verdict:
    winner, kind = outcome.winner, config.tune.objective.kind
    if winner is None:
        return Verdict("loss", f"All {len(outcome.trials)} trials failed.")
    counts = {name: sum(t.status == name for t in outcome.trials) for name in ("finished", "stopped", "failed")}
    remarks = ["best.yaml is its config, ready for dakpn train."]
    if isinstance(config.tune.scheduler, PbtConfig):
        remarks.append("Settings changed while it trained: best.yaml has the last ones, not the whole schedule.")
    if outcome.lead is not None:
        remarks.append(f"{lead_sentence(outcome.lead)}.")
    if outcome.correlation is not None:
        remarks.append(correlation_sentence(config, outcome.correlation))
    elif kind != "miou":
        remarks.append(f"{kind} is a proxy, and its rank correlation with mIoU was not measured.")
    figures = [
        Figure(_TITLES[kind], shown_objective(config, winner.objective), _ORDER[config.tune.objective.mode], "ours")
    ]
    if winner.miou is not None:
        figures.append(Figure("its mIoU, %", shown_miou(winner.miou), "on the validation split", "ours"))
    ended = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    figures.append(Figure("trials", str(len(outcome.trials)), ended, "gap"))
    chosen = winner.record.values
    values = ", ".join(f"{name} {shown_value(chosen.get(key))}" for key, name in _short_names(config).items())
    return Verdict("gain", f"{_name(winner).capitalize()} is the best: {values}.", tuple(remarks), tuple(figures))


def _row(config: TuneConfig, outcome: SweepOutcome, trial: TrialOutcome, measured: bool) -> SweepRow:
    record = trial.record
    role = "ours" if trial == outcome.winner else ("failed" if trial.status == "failed" else "")
    cells = [
        trial.status,
        str(record.last.step) if record.last else "",
        shown_objective(config, trial.objective),
        *([shown_miou(trial.miou)] if measured else []),
        *(shown_value(record.values.get(key)) for key in config.tune.space),
        duration(math.fsum(score.seconds for score in record.scores)) if record.scores else "",
    ]
    return SweepRow(_name(trial), role, cells)


def _origins(outcome: SweepOutcome, trial: TrialOutcome) -> str:
    numbers = {other.record.trial: _name(other) for other in outcome.trials}
    donors = ", ".join(f"{numbers.get(donor, donor)} at step {step}" for donor, step in trial.record.donors)
    return f"went on from {donors}" if donors else ""


def _by_text(told: Iterable[tuple[TrialOutcome, str]]) -> list[tuple[str, str]]:
    """Each text once, with the trials that it is true of."""
    trials: dict[str, list[str]] = {}
    for trial, text in told:
        if text:
            trials.setdefault(text, []).append(_name(trial))
    return [(", ".join(names), text) for text, names in trials.items()]


def _short_names(config: TuneConfig) -> dict[str, str]:
    """Settings as people call them; those whose last parts are alike keep the whole key."""
    last = {key: key.rpartition(".")[2] for key in config.tune.space}
    alike = Counter(last.values())
    return {key: (name if alike[name] == 1 else key).replace("_", " ") for key, name in last.items()}


def _curve(config: TuneConfig, trial: TrialOutcome) -> Curve:
    kind, scores = config.tune.objective.kind, trial.record.scores
    scale = 100.0 if kind == "miou" else 1.0
    return Curve([score.step for score in scores], [scale * score.objective for score in scores], _TITLES[kind])


def _axis(name: str, dimension: DimensionConfig) -> Axis:
    if dimension.choice is not None:
        return Axis(name, 0, len(dimension.choice) - 1, choices=[shown_value(value) for value in dimension.choice])
    low, high = dimension.corners
    return Axis(name, low, high, is_log=bool(dimension.log_uniform or dimension.log_integer))


def _score_axes(config: TuneConfig, ranking: list[TrialOutcome]) -> list[Axis]:
    kind = config.tune.objective.kind
    scale = 100.0 if kind == "miou" else 1.0
    columns = {_TITLES[kind]: [scale * t.objective for t in ranking if t.objective is not None]}
    if any(trial.miou is not None for trial in ranking):
        columns["mIoU, %"] = [100 * trial.miou for trial in ranking if trial.miou is not None]
    return [Axis(name, min(values), max(values)) for name, values in columns.items() if values]


def _line(config: TuneConfig, outcome: SweepOutcome, trial: TrialOutcome) -> ParallelLine:
    values = [_place(dimension, trial.record.values.get(key)) for key, dimension in config.tune.space.items()]
    scale = 100.0 if config.tune.objective.kind == "miou" else 1.0
    values.append(None if trial.objective is None else scale * trial.objective)
    if any(other.miou is not None for other in outcome.trials):
        values.append(None if trial.miou is None else 100 * trial.miou)
    return ParallelLine(_name(trial), "ours" if trial == outcome.winner else "", values)


def _place(dimension: DimensionConfig, value: Any) -> float | None:
    if dimension.choice is None:
        return value
    return float(list(dimension.choice).index(value)) if value in dimension.choice else None


def _facts(config: TuneConfig, outcome: SweepOutcome) -> dict[str, str]:
    sweep, objective = config.tune, config.tune.objective
    facts = {
        "Objective": f"{_TITLES[objective.kind]}, every {config.report_every_steps} steps of the predictor's training",
        "Search": sweep.search.kind,
        "Scheduler": sweep.scheduler.kind,
        "Trials": f"{sweep.trials}, of up to {config.adversarial.steps} steps; seed {config.seed} for all",
    }
    if objective.validation:
        images = counted(manifest.read_index(objective.validation).rows, "image")
        facts["Validation"] = f"{images} of {objective.validation}"
        facts["Segmenter"] = (
            f"{objective.training.steps} steps of {objective.training.batch_size_per_worker}, seeds "
            + (", ".join(map(str, objective.seeds)))
        )
    if objective.kind != "miou":
        facts["Proxy"] = f"of {objective.images} translated images"
    seconds = math.fsum(score.seconds for trial in outcome.trials for score in trial.record.scores)
    return facts | {"Time of all trials": duration(seconds)}
