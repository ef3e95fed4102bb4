"""Samples prepared by Ray's tasks are those that threads of this process prepare, in the same order, come what may."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from cluster.failures import actionable_error
from cluster.ingest import prepared_on_ray
from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import Arrays, PackedDataset, Stream, StreamOrder, prepared_in_threads
from dakpn.datasets.training_decode import synthetic_decoder
from dakpn.errors import DataError
from tests.processes import with_title
from tests.scenes import CAMVID, Scenes, copy_dataset

pytestmark = pytest.mark.usefixtures("ray_here")


def stream(uri: str, start: int = 0, rank: int = 0, world_size: int = 1) -> Stream:
    source = PackedDataset.open(uri)
    order = StreamOrder(source.index, 3, rank, world_size, shuffle_shards=2)
    return Stream(source, order, synthetic_decoder((24, 32), (16, 24), CAMVID.label_space), labelled=True, start=start)


def examples(blocks: Iterator[Arrays], count: int) -> dict[str, np.ndarray]:
    rows = ({name: array[i] for name, array in block.items()} for block in blocks for i in range(len(block["low"])))
    taken = list(islice(rows, count))
    return {name: np.stack([row[name] for row in taken]) for name in taken[0]}


@pytest.mark.parametrize(("start", "rank", "world_size"), [(0, 0, 1), (17, 1, 2)])
def test_the_stream_is_that_of_threads(scenes: Scenes, start: int, rank: int, world_size: int) -> None:
    """Over more than two epochs of 12 images, from any start, for every worker."""
    wanted = stream(scenes.synthetic, start, rank, world_size)
    here, there = (examples(blocks, 30) for blocks in (prepared_in_threads(wanted, 2), prepared_on_ray(wanted)))
    assert here.keys() == there.keys()
    wanted = replace(wanted, count=30)
    assert sum(len(block["low"]) for block in prepared_on_ray(wanted)) == 30
    for name, array in here.items():
        assert array.dtype == there[name].dtype
        assert np.array_equal(array, there[name]), name


def test_a_killed_task_changes_no_byte(scenes: Scenes) -> None:
    wanted = stream(scenes.synthetic)
    prepare = wanted.prepare

    def slowly(sample: Sample, rng: np.random.Generator) -> Arrays:
        time.sleep(0.1)
        return prepare(sample, rng)

    blocks = prepared_on_ray(replace(wanted, prepare=slowly), prefetch_batches=1)
    before = next(blocks)
    while not (working := with_title(os.getpid(), "ray::MapBatches")):
        time.sleep(0.01)
    for process in working:
        os.kill(process, signal.SIGKILL)
    rest = examples(blocks, 40 - len(before["low"]))
    expected = examples(prepared_in_threads(wanted, 1), 40)
    for name, array in expected.items():
        assert np.array_equal(array, np.concatenate([before[name], rest[name]])), name


def test_a_sample_that_cannot_be_decoded_is_named_with_its_shard(scenes: Scenes, tmp_path: Path) -> None:
    folder = copy_dataset(scenes.synthetic, tmp_path / "damaged")
    shard = sorted(folder.glob("*.parquet"))[1]
    data = bytearray(shard.read_bytes())
    place = data.index(b"IDAT") + 30
    data[place : place + 8] = b"\xff" * 8
    shard.write_bytes(data)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever Ray wraps around it
        examples(prepared_on_ray(stream(str(folder))), 12)
    error = actionable_error(caught.value)
    assert isinstance(error, DataError)
    assert str(shard) in str(error)
    assert "\n" not in str(error)
