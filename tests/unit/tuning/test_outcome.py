"""Who wins a sweep, and whether a proxy may be believed."""

import csv
import io
import json

import pytest

from dakpn.tuning.outcome import (
    chosen_for_correlation,
    correlation_sentence,
    judge_sweep,
    lead_sentence,
    ranked,
    results_csv,
    results_of,
)
from tests.unit.tuning.sweeps import RATE, record, sweep_config

RECORDS = [
    record("a", 9.0, 5.0),
    record("b", 1.0),  # stopped, though it was the best so far
    record("c", 9.0, 4.0),
    record("d", 9.0, failure="loss not finite"),
    record("e"),
]


def test_the_best_of_those_that_took_all_steps_wins() -> None:
    config = sweep_config()
    outcome = judge_sweep(config, RECORDS, {})
    assert [trial.status for trial in outcome.trials] == ["finished", "stopped", "finished", "failed", "failed"]
    assert [trial.record.trial for trial in ranked(config, outcome.trials)] == ["c", "a", "b"]
    assert outcome.winner is not None
    assert outcome.winner.number == 3


def test_more_is_better_for_miou() -> None:
    config = sweep_config(objective={"kind": "miou", "validation": "val"})
    outcome = judge_sweep(config, [record("a", 0.1, 0.2), record("b", 0.1, 0.3)], {})
    assert outcome.winner is not None
    assert outcome.winner.record.trial == "b"


def test_nobody_wins_where_all_failed() -> None:
    assert judge_sweep(sweep_config(), RECORDS[3:], {}).winner is None


def test_results_are_plain_json_and_csv() -> None:
    config = sweep_config()
    outcome = judge_sweep(config, RECORDS, {"c": {0: 0.3}})
    results = json.loads(json.dumps(results_of(config, outcome), allow_nan=False))
    assert results["winner"]["trial"] == "c"
    assert results["winner"]["weights"] == "out/trials/c/run/weights"
    assert [trial["failure"] for trial in results["trials"]][3] == "loss not finite"
    rows = list(csv.DictReader(io.StringIO(results_csv(config, outcome))))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert (rows[2]["miou"], rows[2][RATE], rows[1]["miou"]) == ("0.3", "0.001", "")


@pytest.mark.parametrize(
    ("mious", "coefficient", "says"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], 1.0, "orders trials as mIoU does"),
        ([0.5, 0.6, 0.7, 0.8, 0.9], -1.0, "orders trials against mIoU"),
        ([0.8, 0.9, 0.5, 0.7, 0.6], 0.6, "may be chance"),
        ([0.5, 0.5, 0.5, 0.5, 0.5], None, "there is no rank correlation"),
    ],
)
def test_a_small_distance_and_a_high_miou_agree(mious: list[float], coefficient: float | None, says: str) -> None:
    config = sweep_config()
    records = [record(name, 9.0, distance) for name, distance in zip("abcde", (1.0, 2.0, 3.0, 4.0, 5.0), strict=True)]
    correlation = judge_sweep(
        config, records, {name: {0: miou} for name, miou in zip("abcde", mious, strict=True)}
    ).correlation
    assert correlation is not None
    assert correlation.trials == 5
    assert correlation.coefficient == (None if coefficient is None else pytest.approx(coefficient))
    assert says in correlation_sentence(config, correlation)


def test_the_lead_of_the_winner_is_paired_by_seed() -> None:
    """Luck of seeds differs by ten points; each of three segmenters gains about two by the first trial."""
    config = sweep_config(objective={"kind": "miou", "validation": "val", "seeds": [0, 1, 2]})
    records = [
        record("a", 0.1, 0.25, mious={"0": 0.20, "1": 0.30, "2": 0.25}),
        record("b", 0.1, 0.27, mious={"0": 0.221, "1": 0.320, "2": 0.269}),
    ]
    lead = judge_sweep(config, records, {}).lead
    assert lead is not None
    assert lead_sentence(lead) == (
        "mIoU of trial 2 less that of the next, trial 1: +2.0 [+1.8 to +2.2] points, paired over 3 seeds"
    )
    one_seed = judge_sweep(
        sweep_config(), [record("a", 9.0, 5.0), record("b", 9.0, 4.0)], {"a": {0: 0.2}, "b": {0: 0.3}}
    )
    assert one_seed.lead is not None
    assert "+10.0 [one seed, no interval] points: that may be chance" in lead_sentence(one_seed.lead)
    assert judge_sweep(config, records[:1], {}).lead is None


def test_best_worst_and_some_between_are_measured() -> None:
    config = sweep_config(objective={"kind": "colors", "validation": "val", "correlate": 3})
    records = [record(name, 9.0, float(n)) for n, name in enumerate("abcde")]
    chosen = chosen_for_correlation(config, judge_sweep(config, records, {}).trials)
    assert [trial.record.trial for trial in chosen] == ["a", "c", "e"]
    without = sweep_config(objective={"kind": "colors"})
    assert chosen_for_correlation(without, judge_sweep(without, records, {}).trials) == []
