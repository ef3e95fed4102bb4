"""From streams of samples to batches: the same crops whenever a stream starts, tensors in their ranges."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dakpn.datasets.stream import Arrays, Numbered, PackedDataset, Stream, StreamOrder, prepared_in_threads
from dakpn.datasets.training_decode import key_number, labelled_decoder, real_decoder, synthetic_decoder
from dakpn.sources.pack import pack_dataset
from dakpn.training.data import (
    AdversarialBatch,
    BatchLoader,
    SegmentationBatch,
    arrays_of_batches,
    segmentation_batch,
    synthetic_batch,
)
from tests.scenes import CAMVID, Scenes
from tests.unit.training.tiny import tensors_of

LOW, PATCH = (24, 32), (16, 24)
CPU = torch.device("cpu")
LOADER = BatchLoader(partial(prepared_in_threads, threads=2), CPU)


def stream_of(uri: str, start: int = 0, rank: int = 0, world_size: int = 1, *, real: bool = False) -> Stream:
    dataset = PackedDataset.open(uri)
    prepare = real_decoder(LOW, PATCH) if real else synthetic_decoder(LOW, PATCH)
    return Stream(dataset, StreamOrder(dataset.index, 3, rank, world_size), prepare, labelled=False, start=start)


def batches_of(scenes: Scenes, size: int, start: int = 0) -> Iterator[AdversarialBatch]:
    return LOADER.adversarial_batches(
        stream_of(scenes.synthetic, start), stream_of(scenes.real, start, real=True), size
    )


def test_a_stream_that_starts_later_gives_the_same_batches(scenes: Scenes) -> None:
    straight = list(islice(batches_of(scenes, 3), 7))
    resumed = list(islice(batches_of(scenes, 3, start=12), 3))
    for one, other in zip(map(tensors_of, straight[4:]), map(tensors_of, resumed), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    corners = torch.cat([batch.synthetic.window.corner for batch in straight])
    assert len({tuple(corner.tolist()) for corner in corners}) > 10  # the crops are random


def test_ranks_crop_differently(scenes: Scenes) -> None:
    sample = next(stream_of(scenes.synthetic).read(next(stream_of(scenes.synthetic).portions())))
    one, other = (
        np.stack(
            [
                stream_of(scenes.synthetic, rank=rank, world_size=2).example(Numbered(n, *sample[1:]))["corner"]
                for n in range(4)
            ]
        )
        for rank in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_two_workers_that_split_the_rows_see_and_crop_what_one_worker_does(scenes: Scenes, tmp_path: Path) -> None:
    """With fewer shards than workers each takes every second row, and the batch of a step is the same."""
    one_shard = str(tmp_path / "one")
    pack_dataset(scenes.synthetic, one_shard, None, None, 12)

    def batches(rank: int, world_size: int) -> list[AdversarialBatch]:
        streams = (stream_of(one_shard, rank=rank, world_size=world_size, real=real) for real in (False, True))
        return list(islice(LOADER.adversarial_batches(*streams, 4 // world_size), 5))

    for alone, *shared in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        halves = [tensors_of(half) for half in shared]
        for name, tensor in tensors_of(alone).items():
            together = torch.stack([half[name] for half in halves], 1).flatten(0, 1)
            assert torch.equal(tensor, together), name


def test_both_domains_come_as_one_batch_of_floats(scenes: Scenes) -> None:
    batch = next(batches_of(scenes, 2))
    assert len(batch) == 2
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors_of(batch).items()}
    assert shapes == {
        "synthetic.low": (2, 3, *LOW),
        "synthetic.patch": (2, 3, *PATCH),
        "synthetic.window.full_size": (2, 2),
        "synthetic.window.corner": (2, 2),
        "synthetic.style": (2,),
        "synthetic.noise_seed": (2,),
        "synthetic.image_number": (2,),
        "real.low": (2, 3, *LOW),
        "real.patch": (2, 3, *PATCH),
    }
    window = batch.synthetic.window
    assert window.full_size.dtype == window.corner.dtype == torch.int64
    for images in (batch.synthetic.low, batch.synthetic.patch, batch.real.low, batch.real.patch):
        assert images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1


def test_class_shares_come_where_labels_are_seen(scenes: Scenes) -> None:
    dataset = PackedDataset.open(scenes.synthetic)
    prepare = synthetic_decoder(LOW, PATCH, CAMVID.label_space)
    synthetic = Stream(dataset, StreamOrder(dataset.index, 3), prepare, labelled=True)
    shares = next(LOADER.adversarial_batches(synthetic, stream_of(scenes.real, real=True), 2)).synthetic.class_shares
    assert shares is not None
    assert shares.shape == (2, CAMVID.label_space.num_classes, *LOW)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, *LOW), atol=0.05, rtol=0)


def test_labelled_images_come_as_floats_and_train_ids(scenes: Scenes) -> None:
    dataset = PackedDataset.open(scenes.synthetic)
    prepare = labelled_decoder(CAMVID.label_space, LOW)
    stream = Stream(dataset, StreamOrder(dataset.index, 3), prepare, labelled=True)
    batch = next(LOADER.segmentation_batches(stream, 3))
    assert isinstance(batch, SegmentationBatch)
    assert len(batch) == 3
    numbered = list(islice(stream.read(next(stream.portions())), 3))
    expected = [stream.example(one) for one in numbered]
    assert batch.images.dtype == torch.float32
    assert batch.labels.dtype == torch.int64
    for image, label, example in zip(batch.images, batch.labels, expected, strict=True):
        assert torch.equal(image, torch.from_numpy(example["image"]).float() / 255)
        assert torch.equal(label, torch.from_numpy(example["label"]).long())


def test_an_image_number_stays_on_the_cpu_when_all_else_moves() -> None:
    arrays = {
        "low": np.zeros((2, 3, 4, 4), np.uint8),
        "patch": np.zeros((2, 3, 8, 8), np.uint8),
        "full_size": np.full((2, 2), 16),
        "corner": np.zeros((2, 2), np.int64),
        "style": np.arange(2),
        "noise_seed": np.arange(2),
        "image_number": np.array([key_number("a"), key_number("b")]),
    }
    moved = tensors_of(synthetic_batch(arrays).to(torch.device("meta")))
    assert {name for name, tensor in moved.items() if tensor.device.type == "cpu"} == {"image_number"}
    assert moved["image_number"].tolist() == [key_number("a"), key_number("b")]
    assert {name for name, tensor in moved.items() if tensor.dtype == torch.float32} == {"low", "patch"}


def test_bytes_of_images_become_floats_where_they_are_used_and_ids_do_not() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    on_the_way = segmentation_batch({"image": levels, "label": levels[:, 0]})
    assert on_the_way.images.dtype == on_the_way.labels.dtype == torch.uint8
    there = on_the_way.to(CPU)
    assert torch.equal(there.images[0, 0].flatten(), torch.arange(256) / 255)
    assert torch.equal(there.labels.flatten(), torch.arange(256))
    assert on_the_way.images.dtype == torch.uint8  # nothing was changed in place


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7))
def test_blocks_of_any_sizes_are_cut_and_joined_into_batches_in_order(sizes: list[int], batch_size: int) -> None:
    rows = np.arange(sum(sizes))
    ends = np.cumsum(sizes, dtype=int)
    blocks: Iterator[Arrays] = (
        {"number": rows[end - size : end], "pair": rows[end - size : end, None] * [1, 2]}
        for size, end in zip(sizes, ends, strict=True)
    )
    batches = list(arrays_of_batches(blocks, batch_size))
    whole = len(rows) // batch_size
    assert [len(batch["number"]) for batch in batches] == [batch_size] * whole
    numbers = np.concatenate([rows[:0], *(batch["number"] for batch in batches)])
    assert np.array_equal(numbers, rows[: whole * batch_size])
    for batch in batches:
        assert np.array_equal(batch["pair"], batch["number"][:, None] * [1, 2])


class Copied:
    """Stands for a batch: what is copied to a GPU, and when, needs none."""

    def __init__(self, number: int, log: list[str]) -> None:
        self.number, self.log = number, log

    def pin(self) -> "Copied":
        return self

    def to(self, device: torch.device) -> "Copied":
        self.log.append(f"copied {self.number}")
        return self


def test_two_batches_are_copied_ahead_to_a_gpu_and_the_last_ones_are_not_lost() -> None:
    log: list[str] = []
    loader = BatchLoader(partial(prepared_in_threads, threads=1), torch.device("cuda"))
    batches = loader._ahead(Copied(number, log) for number in range(4))  # pyright: ignore[reportArgumentType]
    for batch in batches:
        log.append(f"step {batch.number}")
    assert log == [*(f"copied {n}" for n in range(3)), "step 0", "copied 3", "step 1", "step 2", "step 3"]
