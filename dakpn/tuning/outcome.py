"""What a sweep came to: how each trial ended, which one won, and whether a proxy orders trials as mIoU does."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr

from dakpn.config import TuneConfig
from dakpn.tuning.records import TrialRecord
from dakpn.tuning.space import training_config

_SIGNIFICANT = 0.05
Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended.

    Attributes:
        number: from 1 on, in the order in which the trials were started.
        status: finished: with its last step; stopped: by the scheduler; failed: by an error.
        record: what it told.
        miou: of a segmenter trained on its translations, 0..1; None if none was.
    """

    number: int
    status: Status
    record: TrialRecord
    miou: float | None

    @property
    def objective(self) -> float | None:
        """Its last score."""
        return self.record.last.objective if self.record.last else None


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's, of the objective with mIoU.

    Attributes:
        coefficient: 1 if the objective orders the trials as mIoU does, -1 if in reverse; None if either is constant.
        p_value: of as strong a correlation by chance; None with fewer than 4 trials, which can show nothing.
        trials: number of trials that both were measured of.
    """

    coefficient: float | None
    p_value: float | None
    trials: int


@dataclass(frozen=True)
class SweepOutcome:
    """All trials, the best of them (None if all failed), and the correlation (None if it was not measured)."""

    trials: tuple[TrialOutcome, ...]
    winner: TrialOutcome | None
    correlation: RankCorrelation | None


def judge_sweep(config: TuneConfig, records: Sequence[TrialRecord], mious: Mapping[str, float]) -> SweepOutcome:
    """Judge a sweep whose trials have all ended.

    Args:
        config: of the sweep.
        records: in the order in which the trials were started.
        mious: trial -> mIoU 0..1, of those that were measured beside the objective.
    """
    trials = tuple(
        TrialOutcome(number, _status(config, record), record, mious.get(record.trial))
        for number, record in enumerate(records, start=1)
    )
    ranking = ranked(config, trials)
    return SweepOutcome(trials, ranking[0] if ranking else None, _correlation(config, trials))


def ranked(config: TuneConfig, trials: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Trials that did not fail and have a score, the best first: more steps before fewer, then by objective."""
    sign = -1.0 if config.tune.objective.mode == "max" else 1.0

    def place(trial: TrialOutcome) -> tuple[bool, int, float]:
        steps = trial.record.last.step if trial.record.last else 0
        finished = trial.status == "finished"
        return (not finished, 0 if finished else -steps, sign * (trial.objective or 0.0))

    return sorted((trial for trial in trials if trial.status != "failed"), key=place)


def chosen_for_correlation(config: TuneConfig, trials: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """The best trial, the worst, and some between them; none where the objective is mIoU itself."""
    objective = config.tune.objective
    ranking = ranked(config, trials)
    if objective.kind == "miou" or objective.validation is None or not ranking:
        return []
    places = np.linspace(0, len(ranking) - 1, min(objective.correlate, len(ranking))).round().astype(int)
    return [ranking[i] for i in places.tolist()]


def results_of(config: TuneConfig, outcome: SweepOutcome) -> dict[str, Any]:
    """The content of `results.json`."""
    return {
        "objective": config.tune.objective.kind,
        "mode": config.tune.objective.mode,
        "trials": [_row(trial) for trial in outcome.trials],
        "winner": _row(outcome.winner) if outcome.winner else None,
        "rank_correlation": asdict(outcome.correlation) if outcome.correlation else None,
    }


def results_csv(config: TuneConfig, outcome: SweepOutcome) -> str:
    """A row a trial: settings, last score, mIoU."""
    keys = list(config.tune.space)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "trial", "status", "step", "objective", "miou", *keys, "failure"])
    for trial in outcome.trials:
        row = _row(trial)
        values = [row["values"].get(key) for key in keys]
        writer.writerow(
            [*(row[n] for n in ("number", "trial", "status", "step", "objective", "miou")), *values, row["failure"]]
        )
    return text.getvalue()


def correlation_sentence(config: TuneConfig, correlation: RankCorrelation) -> str:
    """What a reader may conclude from the proxy."""
    kind, among = config.tune.objective.kind, f"{correlation.trials} trials"
    if correlation.coefficient is None:
        return f"Over {among} either {kind} or mIoU is the same for all: there is no rank correlation."
    chance = "" if correlation.p_value is None else f", p = {correlation.p_value:.2g}"
    value = f"rank correlation of {kind} with mIoU over {among}: {correlation.coefficient:+.2f}{chance}"
    if correlation.p_value is not None and correlation.p_value < _SIGNIFICANT:
        says = "orders trials as mIoU does" if correlation.coefficient > 0 else "orders trials against mIoU"
        return f"{value}; {kind} {says}"
    return f"{value}; that may be chance: choose by mIoU, or measure more trials (tune.objective.correlate)"


def shown_objective(config: TuneConfig, objective: float | None) -> str:
    """For people: mIoU in percent, distances as they are."""
    if objective is None:
        return ""
    return shown_miou(objective) if config.tune.objective.kind == "miou" else f"{objective:.4g}"


def shown_miou(miou: float | None) -> str:
    """In percent."""
    return "" if miou is None else f"{100 * miou:.1f}"


def shown_value(value: Any) -> str:
    """A value of the search space for people."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).replace('"', "")


def _row(trial: TrialOutcome) -> dict[str, Any]:
    record, last = trial.record, trial.record.last
    return {
        "number": trial.number,
        "trial": record.trial,
        "status": trial.status,
        "step": last.step if last else 0,
        "objective": trial.objective,
        "miou": trial.miou,
        "values": dict(record.values),
        "scores": [{"step": s.step, "objective": s.objective, "values": dict(s.values)} for s in record.scores],
        "seconds": sum(score.seconds for score in record.scores),
        "weights": last.weights if last else None,
        "donors": [{"trial": donor, "step": step} for donor, step in record.donors],
        "failure": record.failure,
    }


def _status(config: TuneConfig, record: TrialRecord) -> Status:
    if record.failure is not None or record.last is None:
        return "failed"
    steps = training_config(config, record.values).adversarial.steps
    return "finished" if record.last.step >= steps else "stopped"


def _correlation(config: TuneConfig, trials: Sequence[TrialOutcome]) -> RankCorrelation | None:
    sign = 1.0 if config.tune.objective.mode == "max" else -1.0
    pairs = [(sign * t.objective, t.miou) for t in trials if t.objective is not None and t.miou is not None]
    if len(pairs) < 3:
        return None
    ours, theirs = (np.asarray(column) for column in zip(*pairs, strict=True))
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return RankCorrelation(None, None, len(pairs))
    coefficient, p_value = (float(value) for value in spearmanr(ours, theirs))  # pyright: ignore[reportArgumentType]
    return RankCorrelation(coefficient, p_value if len(pairs) > 3 and math.isfinite(p_value) else None, len(pairs))
