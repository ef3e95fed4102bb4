"""The picture of fixed samples."""

import numpy as np
import torch

from dakpn.training.samples import sample_grid
from dakpn.training.state import ExponentialMovingAverage
from tests.unit.training.tiny import LOW, adversarial_batch, tiny_task


def rows(picture: np.ndarray) -> list[np.ndarray]:
    """The first image of each row."""
    height, width = LOW
    return [picture[top : top + height, :width] for top in (0, height + 4, 2 * (height + 4))]


def test_rows_are_synthetic_translated_and_real() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    picture = sample_grid(task, None, batch)
    assert picture.shape == (3 * LOW[0] + 2 * 4, 2 * LOW[1] + 4, 3)
    synthetic, translated, real = rows(picture)
    for row, name in ((synthetic, "synthetic_low"), (real, "real_low")):
        assert np.array_equal(row, (batch[name][0] * 255).round().byte().permute(1, 2, 0).numpy())
    assert not np.array_equal(translated, synthetic)
    assert np.array_equal(sample_grid(task, None, batch), picture)


def test_the_translated_row_shows_what_will_be_the_weights() -> None:
    task, batch = tiny_task(), adversarial_batch(0)
    average = ExponentialMovingAverage(task.predictor, 0.9)
    before = rows(sample_grid(task, average, batch))[1]
    with torch.no_grad():
        task.predictor.head.bias += 3
    assert np.array_equal(rows(sample_grid(task, average, batch))[1], before)
    assert not np.array_equal(rows(sample_grid(task, None, batch))[1], before)
