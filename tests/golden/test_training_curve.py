"""Training does what it did: the same seed gives the same curve, here and on other processors."""

import json

import pytest

from tests.golden.curve import CURVE, EVERY, NAMES, STEPS, training_curve

TOLERANCE = 2e-2
"""Relative: float sums differ between processors, and 50 steps of Adam carry that on."""


def test_the_curve_is_the_golden_one() -> None:
    golden, found = json.loads(CURVE.read_text()), training_curve()
    assert golden.keys() == found.keys() == set(NAMES)
    for name in NAMES:
        assert len(golden[name]) == STEPS // EVERY
        assert found[name] == pytest.approx(golden[name], rel=TOLERANCE, abs=1e-4), (
            f"{name} left the golden curve: if training was meant to change, renew it: python -m tests.golden.curve"
        )


def test_on_one_machine_the_curve_is_the_same_to_the_bit() -> None:
    assert training_curve() == training_curve()
