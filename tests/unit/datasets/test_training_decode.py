"""From encoded samples to the arrays of an example: crops lie where they say, what does not fit is named."""

import numpy as np
import pytest

from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import PackedDataset
from dakpn.datasets.training_decode import key_number, labelled_decoder, real_decoder, synthetic_decoder
from dakpn.errors import DataError
from dakpn.images import codec
from tests.scenes import CAMVID, Scenes

LOW, PATCH = (24, 32), (16, 24)


def first_sample(uri: str) -> Sample:
    dataset = PackedDataset.open(uri)
    return next(dataset.read(dataset.index.shards[0].name))


def test_a_patch_lies_where_its_window_says(scenes: Scenes) -> None:
    sample = first_sample(scenes.synthetic)
    example = synthetic_decoder(LOW, PATCH)(sample, np.random.default_rng(0))
    (height, width), (top, left) = example["full_size"], example["corner"]
    image = codec.decode_image(sample.image, sample.key).transpose(2, 0, 1)
    assert image.shape == (3, height, width)
    assert np.array_equal(example["patch"], image[:, top : top + PATCH[0], left : left + PATCH[1]])


def test_an_image_smaller_than_the_patch_is_named(scenes: Scenes) -> None:
    sample = first_sample(scenes.real)
    with pytest.raises(DataError, match=rf"{sample.key} has 48 x 64 pixels.*patch of 49 x 64.*patch_size"):
        real_decoder(LOW, (49, 64))(sample, np.random.default_rng(0))


def test_a_row_without_label_is_named(scenes: Scenes) -> None:
    sample = first_sample(scenes.real)
    assert isinstance(sample, Sample)
    with pytest.raises(DataError, match=f"{sample.key} has no label"):
        labelled_decoder(CAMVID.label_space, LOW)(sample, np.random.default_rng(0))


def test_key_numbers_are_known_and_fit_an_int64() -> None:
    numbers = {key_number(f"images/{i}.png") for i in range(1000)}
    assert len(numbers) == 1000
    assert 0 <= min(numbers) <= max(numbers) < 2**63
    assert key_number("a") == 0x655E_8DE5_0940_CBE5  # the same in every process: not Python's salted hash
