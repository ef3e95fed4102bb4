"""What a report says about the steps since the last one."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from dakpn.errors import TrainingError
from dakpn.training.meter import Meter


def batches() -> Iterator[dict[str, Tensor]]:
    while True:
        yield {"image": torch.zeros(3, 2)}


def test_a_term_of_some_steps_alone_is_averaged_over_these() -> None:
    meter = Meter()
    for terms in ({"loss": 1.0, "r1": 8.0}, {"loss": 2.0}, {"loss": 3.0}):
        meter.timed_next(batches())
        meter.add({name: torch.tensor(value) for name, value in terms.items()})
    metrics = meter.read(3)
    assert metrics["loss"] == 2.0
    assert metrics["r1"] == 8.0
    assert metrics["images_per_second"] == pytest.approx(3 / metrics["seconds_per_step"])
    assert 0 <= metrics["data_wait_share"] <= 1


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_mean_that_is_not_finite_is_named_with_its_step(broken: float) -> None:
    meter = Meter()
    meter.add({"loss": torch.tensor(1.0), "gradient_norm/predictor": torch.tensor(broken)})
    with pytest.raises(TrainingError, match="gradient_norm/predictor not finite at step 12"):
        meter.read(12)
