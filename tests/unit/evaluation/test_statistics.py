"""Paired differences: what pairing removes, and what an interval may claim."""

import numpy as np
import pytest

from dakpn.errors import DataError
from dakpn.evaluation.statistics import paired_difference


def test_what_both_share_does_not_widen_the_interval() -> None:
    luck = {0: 0.20, 1: 0.28, 2: 0.15, 3: 0.24}
    first = {
        (seed, 0): value + gain for (seed, value), gain in zip(luck.items(), (0.03, 0.02, 0.04, 0.03), strict=True)
    }
    difference = paired_difference(first, {(seed, 0): value for seed, value in luck.items()})
    assert difference.mean == pytest.approx(0.03)
    assert 0.02 <= difference.low < 0.03 < difference.high <= 0.04
    assert difference.is_above
    assert difference.pairs == 4


def test_pairs_that_disagree_are_not_above() -> None:
    difference = paired_difference({(0, 0): 0.3, (1, 0): 0.2, (2, 0): 0.3}, {(0, 0): 0.2, (1, 0): 0.25, (2, 0): 0.2})
    assert difference.low < 0 < difference.high
    assert not difference.is_above


def test_draws_that_differ_widen_the_interval_however_many_seeds_repeat_them() -> None:
    """Two draws seen with many seeds are two draws."""
    gains = {0: 0.00, 1: 0.10}
    first = {(seed, draw): 0.2 + gain for seed in range(20) for draw, gain in gains.items()}
    second = dict.fromkeys(first, 0.2)
    difference = paired_difference(first, second)
    assert difference.low == pytest.approx(0.0)
    assert difference.high == pytest.approx(0.10)


def test_only_common_pairs_count_and_one_says_nothing_of_spread() -> None:
    difference = paired_difference({(0, 0): 0.5, (1, 0): 0.9}, {(0, 0): 0.4, (2, 0): 0.1})
    assert (difference.low, difference.high, difference.pairs) == (None, None, 1)
    assert difference.mean == pytest.approx(0.1)
    assert not difference.is_above
    with pytest.raises(DataError, match="no seed and draw in common"):
        paired_difference({(0, 0): 0.5}, {(1, 0): 0.4})


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        noise = rng.normal(0.02, 0.01, 20)
        difference = paired_difference(
            {(i, 0): float(v) for i, v in enumerate(noise)}, {(i, 0): 0.0 for i in range(20)}
        )
        hits += difference.low <= 0.02 <= difference.high
    assert 85 <= hits <= 99
