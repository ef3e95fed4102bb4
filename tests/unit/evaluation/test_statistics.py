"""The one statistic: what pairing removes, and what an interval may claim."""

import numpy as np
import pytest
from scipy import stats

from dakpn.errors import DataError
from dakpn.evaluation.statistics import Estimate, difference_text, estimate, paired_difference


def by_seed(*values: float) -> dict[tuple[int, int], float]:
    return {(seed, 0): value for seed, value in enumerate(values)}


def ends(found: Estimate) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_the_interval_is_the_paired_one_of_the_textbook() -> None:
    """Differences 2, 4 and 6 points: mean 4, deviation 2, t = 4.303 with 2 degrees of freedom."""
    found = paired_difference(by_seed(0.22, 0.34, 0.21), by_seed(0.20, 0.30, 0.15))
    assert found.mean == pytest.approx(0.04)
    half_width = 4.302653 * 0.02 / 3**0.5
    assert ends(found) == pytest.approx((0.04 - half_width, 0.04 + half_width), abs=1e-7)
    assert found.outcome == "unclear"  # though every pair is above
    assert difference_text(found) == "+4.0 [\u22121.0 to +9.0]"


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_interval_is_that_of_scipy(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    luck = rng.normal(0.3, 0.1, seeds)
    first, second = luck + rng.normal(0.02, 0.01, seeds), luck
    found = paired_difference(by_seed(*first), by_seed(*second))
    known = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert ends(found) == pytest.approx((known.low, known.high))
    assert (found.pairs, found.seeds) == (seeds, seeds)


def test_what_both_share_does_not_widen_the_interval() -> None:
    luck = (0.20, 0.28, 0.15, 0.24)
    first = by_seed(*(value + gain for value, gain in zip(luck, (0.03, 0.02, 0.04, 0.03), strict=True)))
    found = paired_difference(first, by_seed(*luck))
    assert found.outcome == "above"
    unpaired = stats.ttest_ind(list(first.values()), luck, equal_var=False).confidence_interval(0.95)
    assert unpaired.low < 0
    assert paired_difference(by_seed(*luck), first).outcome == "below"


def test_draws_that_differ_widen_the_interval_however_many_seeds_repeat_them() -> None:
    """Two draws seen with twenty seeds are two draws."""
    gains = {0: 0.00, 1: 0.10}
    first = {(seed, draw): 0.2 + gain for seed in range(20) for draw, gain in gains.items()}
    found = paired_difference(first, dict.fromkeys(first, 0.2))
    known = stats.ttest_1samp(list(gains.values()), 0.0).confidence_interval(0.95)
    assert ends(found) == pytest.approx((known.low, known.high))


def test_seeds_and_draws_add_their_variances() -> None:
    values = {(seed, draw): 0.01 * seed + 0.02 * draw for seed in range(3) for draw in range(3)}
    variances = 0.01**2 / 3, 0.02**2 / 3  # of the mean of three seeds, and of three draws
    degrees = sum(variances) ** 2 / sum(v**2 / 2 for v in variances)
    half_width = stats.t.ppf(0.975, degrees) * sum(variances) ** 0.5
    assert ends(estimate(values)) == pytest.approx((0.03 - half_width, 0.03 + half_width))


def test_one_seed_has_no_interval_and_says_so() -> None:
    found = paired_difference({(0, 0): 0.5, (0, 1): 0.6, (1, 0): 0.9}, {(0, 0): 0.4, (0, 1): 0.5, (2, 0): 0.1})
    assert (found.low, found.high, found.pairs, found.seeds) == (None, None, 2, 1)
    assert found.outcome == "one seed"
    assert difference_text(found) == "+10.0 [one seed, no interval]"


def test_only_common_finite_pairs_count() -> None:
    found = paired_difference(by_seed(0.5, float("nan"), 0.6, 0.7), by_seed(0.4, 0.1, 0.5))
    assert (found.mean, found.pairs) == (pytest.approx(0.1), 2)
    with pytest.raises(DataError, match="no seed and draw in common"):
        paired_difference({(0, 0): 0.5}, {(1, 0): 0.4})
    with pytest.raises(DataError, match="no seed and draw in common"):
        paired_difference(by_seed(float("nan")), by_seed(0.4))


@pytest.mark.parametrize(("seeds", "draws"), [(3, 1), (3, 3)])
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds: int, draws: int) -> None:
    rng = np.random.default_rng(0)
    hits, cases = 0, 400
    for _ in range(cases):
        noise = rng.normal(0.02, 0.01, (seeds, draws)) + rng.normal(0, 0.01, (seeds, 1))
        low, high = ends(estimate({(s, d): float(noise[s, d]) for s in range(seeds) for d in range(draws)}))
        hits += low <= 0.02 <= high
    assert hits / cases >= 0.93
