"""From samples to batches: the same crops whenever a stream starts, tensors in their ranges."""

from itertools import islice

import numpy as np
import pytest
import torch

from dakpn.data import manifest
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.data.stream import StreamOrder, stream_samples
from dakpn.data.training_samples import labelled_example, real_example, synthetic_example
from dakpn.errors import DataError
from dakpn.training.batches import batched, to_device, zipped
from tests.scenes import CAMVID, Scenes

LOW, PATCH = (24, 32), (16, 24)


def samples(uri: str, start: int = 0):
    def read(names):
        return (sample for name in names for sample in read_shard(manifest.shard_uri(uri, name)))

    return stream_samples(StreamOrder(manifest.read_index(uri), seed=3), read, start)


def test_a_stream_that_starts_later_gives_the_same_batches(scenes: Scenes) -> None:
    prepare = synthetic_example(LOW, PATCH)
    straight = list(islice(batched(samples(scenes.synthetic), prepare, 3, 3, 0), 7))
    resumed = list(islice(batched(samples(scenes.synthetic, 12), prepare, 3, 3, 0, start_step=4), 3))
    for one, other in zip(straight[4:], resumed, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    windows = torch.cat([batch["synthetic_window"] for batch in straight])
    assert len({tuple(window.tolist()) for window in windows}) > 10  # the crops are random


def test_ranks_crop_differently(scenes: Scenes) -> None:
    prepare = synthetic_example(LOW, PATCH)
    one, other = (next(batched(samples(scenes.synthetic), prepare, 4, 3, rank))["synthetic_window"] for rank in (0, 1))
    assert not torch.equal(one, other)


def test_both_domains_come_as_one_batch_of_floats(scenes: Scenes) -> None:
    streams = (
        batched(samples(scenes.synthetic), synthetic_example(LOW, PATCH), 2, 0, 0),
        batched(samples(scenes.real), real_example(LOW, PATCH), 2, 0, 0),
    )
    batch = next(to_device(zipped(*streams), torch.device("cpu")))
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == {
        "synthetic_low": (2, 3, *LOW),
        "synthetic_patch": (2, 3, *PATCH),
        "synthetic_window": (2, 6),
        "synthetic_style": (2,),
        "real_low": (2, 3, *LOW),
        "real_patch": (2, 3, *PATCH),
    }
    assert batch["synthetic_window"].dtype == torch.int64
    for name in ("synthetic_low", "synthetic_patch", "real_low", "real_patch"):
        assert batch[name].dtype == torch.float32
        assert 0 <= batch[name].min() < batch[name].max() <= 1


def test_a_patch_lies_where_its_window_says(scenes: Scenes) -> None:
    from dakpn.data import codec

    sample = next(samples(scenes.synthetic))
    example = synthetic_example(LOW, PATCH)(sample, np.random.default_rng(0))
    height, width, top, left, rows, columns = example["synthetic_window"]
    image = codec.decode_image(sample.image, sample.key).transpose(2, 0, 1)
    assert image.shape == (3, height, width)
    assert np.array_equal(example["synthetic_patch"], image[:, top : top + rows, left : left + columns])


def test_an_image_smaller_than_the_patch_is_named(scenes: Scenes) -> None:
    sample = next(samples(scenes.real))
    with pytest.raises(DataError, match=rf"{sample.key} has 48 x 64 pixels.*patch of 49 x 64.*patch_size"):
        real_example(LOW, (49, 64))(sample, np.random.default_rng(0))


def test_a_row_without_label_is_named(scenes: Scenes) -> None:
    sample = next(samples(scenes.real))
    assert isinstance(sample, Sample)
    with pytest.raises(DataError, match=f"{sample.key} has no label"):
        labelled_example(CAMVID.label_space, LOW)(sample, np.random.default_rng(0))
