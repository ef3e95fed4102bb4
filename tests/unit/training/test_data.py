"""From samples to batches: the same crops whenever a stream starts, tensors in their ranges."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from dakpn.data import manifest
from dakpn.data.pack import pack_dataset
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.data.stream import StreamOrder, stream_samples
from dakpn.data.training_samples import labelled_example, real_example, synthetic_example
from dakpn.errors import DataError
from dakpn.training.batches import batched, to_device, zipped
from dakpn.training.loop import Batch
from tests.scenes import CAMVID, Scenes

LOW, PATCH = (24, 32), (16, 24)


def read_all(uri: str, names: Sequence[str]) -> Iterator[Sample]:
    return (sample for name in names for sample in read_shard(manifest.shard_uri(uri, name)))


def samples(uri: str, start: int = 0) -> Iterator[Sample]:
    return stream_samples(StreamOrder(manifest.read_index(uri), seed=3), lambda names: read_all(uri, names), start)


def test_a_stream_that_starts_later_gives_the_same_batches(scenes: Scenes) -> None:
    prepare = synthetic_example(LOW, PATCH)
    straight = list(islice(batched(samples(scenes.synthetic), prepare, 3, 3), 7))
    resumed = list(islice(batched(samples(scenes.synthetic, 12), prepare, 3, 3, start_step=4), 3))
    for one, other in zip(straight[4:], resumed, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    windows = torch.cat([batch["synthetic_window"] for batch in straight])
    assert len({tuple(window.tolist()) for window in windows}) > 10  # the crops are random


def test_ranks_crop_differently(scenes: Scenes) -> None:
    prepare = synthetic_example(LOW, PATCH)
    one, other = (
        next(batched(samples(scenes.synthetic), prepare, 4, 3, rank, world_size=2))["synthetic_window"]
        for rank in (0, 1)
    )
    assert not torch.equal(one, other)


def test_two_workers_that_split_the_rows_see_and_crop_what_one_worker_does(scenes: Scenes, tmp_path: Path) -> None:
    """With fewer shards than workers each takes every second row, and the batch of a step is the same."""
    one_shard = str(tmp_path / "one")
    pack_dataset(scenes.synthetic, one_shard, None, None, 12)
    index, prepare = manifest.read_index(one_shard), synthetic_example(LOW, PATCH)

    def batches(rank: int, world_size: int) -> list[Batch]:
        order = StreamOrder(index, 3, rank, world_size)
        stream = stream_samples(order, lambda names: read_all(one_shard, names))
        return list(islice(batched(stream, prepare, 4 // world_size, 3, rank, world_size), 5))

    for alone, *shared in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        for name, tensor in alone.items():
            together = torch.stack([half[name] for half in shared], 1).flatten(0, 1)
            assert torch.equal(tensor, together), name


def test_both_domains_come_as_one_batch_of_floats(scenes: Scenes) -> None:
    streams = (
        batched(samples(scenes.synthetic), synthetic_example(LOW, PATCH), 2, 0),
        batched(samples(scenes.real), real_example(LOW, PATCH), 2, 0),
    )
    batch = next(to_device(zipped(*streams), torch.device("cpu")))
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == {
        "synthetic_low": (2, 3, *LOW),
        "synthetic_patch": (2, 3, *PATCH),
        "synthetic_window": (2, 6),
        "synthetic_style": (2,),
        "synthetic_noise": (2,),
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
