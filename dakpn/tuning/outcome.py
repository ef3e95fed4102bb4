"""What a sweep came to: how each trial ended, which one won, and whether a proxy orders trials as mIoU does."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr

from dakpn.config import TuneConfig
from dakpn.evaluation.statistics import Estimate, Pair, common_pairs, difference_text, paired_difference
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
        mious: seed -> mIoU 0..1 of a segmenter trained on its translations, beside a proxy; empty if none was.
    """

    number: int
    status: Status
    record: TrialRecord
    mious: Mapping[int, float]

    @property
    def miou(self) -> float | None:
        """Mean of the mIoUs that were measured beside a proxy."""
        return fmean(self.mious.values()) if self.mious else None

    @property
    def scores(self) -> dict[Pair, float]:
        """MIoU by seed, of the objective or measured beside it."""
        of_objective = self.record.last.mious if self.record.last else {}
        return {(int(seed), 0): miou for seed, miou in (self.mious or of_objective).items()}

    @property
    def objective(self) -> float | None:
        """Its last score."""
        return self.record.last.objective if self.record.last else None


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's, of the objective with mIoU.

    Attributes:
        coefficient: 1 if the objective orders the trials as mIoU does, -1 if in reverse; None if either is constant.
        p_value: Probability of as strong a correlation by chance; None with fewer than 4 trials.
        trials: number of trials that both were measured of.
    """

    coefficient: float | None
    p_value: float | None
    trials: int


@dataclass(frozen=True)
class Lead:
    """mIoU of the best trial minus that of the next one with segmenters of the same seeds, paired by seed."""

    first: int
    second: int
    difference: Estimate


@dataclass(frozen=True)
class SweepOutcome:
    """A sweep in sum.

    Attributes:
        trials: all of them.
        winner: the best; None if all failed.
        correlation: Correlation of the proxy with mIoU; None if it was not measured.
        lead: Lead of the winner, in mIoU; None if it was not measured, or of no other trial.
    """

    trials: tuple[TrialOutcome, ...]
    winner: TrialOutcome | None
    correlation: RankCorrelation | None
    lead: Lead | None


def judge_sweep(
    config: TuneConfig, records: Sequence[TrialRecord], mious: Mapping[str, Mapping[int, float]]
) -> SweepOutcome:
    """Judge a sweep whose trials have all ended.

    Args:
        config: Config of the sweep.
        records: in the order in which the trials were started.
        mious: trial -> seed -> mIoU 0..1, of those that were measured beside the objective.
    """
    trials = tuple(
        TrialOutcome(number, _status(config, record), record, mious.get(record.trial, {}))
        for number, record in enumerate(records, start=1)
    )
    ranking = ranked(config, trials)
    return SweepOutcome(trials, ranking[0] if ranking else None, _correlation(config, trials), _lead(ranking))


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
        "lead": asdict(outcome.lead) if outcome.lead else None,
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


def lead_sentence(lead: Lead) -> str:
    """What a reader may conclude from the winner's lead."""
    found = lead.difference
    text = f"mIoU of trial {lead.first} less that of the next, trial {lead.second}: {difference_text(found)} points"
    match found.outcome:
        case "above":
            return f"{text}, paired over {found.seeds} seeds"
        case "below":
            return f"{text}, paired over {found.seeds} seeds: by mIoU the next one is better"
        case "unclear":
            return f"{text}, paired over {found.seeds} seeds: not told apart, take either"
        case _:
            return f"{text}: that may be chance; more tune.objective.seeds would tell"


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


def _lead(ranking: Sequence[TrialOutcome]) -> Lead | None:
    for other in ranking[1:]:
        if common_pairs(ranking[0].scores, other.scores):
            return Lead(ranking[0].number, other.number, paired_difference(ranking[0].scores, other.scores))
    return None


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
