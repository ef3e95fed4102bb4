"""The order of training samples, seeded, complete, dealt to workers and startable anywhere; and their preparation."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from dakpn.datasets.manifest import DatasetIndex, ShardEntry
from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import Arrays, Portion, Stream, StreamOrder, prepared_in_threads
from dakpn.errors import DataError, UsageError
from tests.sources import HeldSamples


def index_of(*rows: int) -> DatasetIndex:
    shards = [ShardEntry(name=f"s{i}", rows=n, sha256="", bytes=1) for i, n in enumerate(rows)]
    return DatasetIndex(label_space=None, labelled=False, shards=shards)


def samples_of(index: DatasetIndex) -> HeldSamples:
    """Samples whose keys say where they are."""
    return HeldSamples(
        {
            shard.name: [Sample(f"{shard.name}/{i}", b"image", "", b"label", "l") for i in range(shard.rows)]
            for shard in index.shards
        }
    )


def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
    """An example that shows the sample and its randomness."""
    if sample.key == "s1/2":
        raise DataError("it is no image")
    return {"key": np.array(sample.key), "drawn": rng.integers(0, 2**31, 2), "labelled": np.array(bool(sample.label))}


def stream_of(order: StreamOrder, start: int = 0, *, labelled: bool = True) -> Stream:
    return Stream(samples_of(order.index), order, prepare, labelled, start)


def keys(order: StreamOrder, count: int, start: int = 0) -> list[str]:
    stream = stream_of(order, start)
    numbered = (one for portion in stream.portions() for one in stream.read(portion))
    seen = list(islice(numbered, count))
    assert [number for number, _, _ in seen] == list(range(start, start + count))
    assert all(shard == f"held/{sample.key.partition('/')[0]}" for _, sample, shard in seen)
    return [sample.key for _, sample, _ in seen]


def test_an_epoch_holds_every_row_once_and_the_next_another_order():
    order = StreamOrder(index_of(5, 3, 4), seed=1, shuffle_shards=2)
    both = keys(order, 24)
    assert (
        Counter(both[:12])
        == Counter(both[12:])
        == Counter(f"s{s}/{i}" for s, n in enumerate((5, 3, 4)) for i in range(n))
    )
    assert both[:12] != both[12:]
    assert both == keys(order, 24)
    assert both != keys(StreamOrder(index_of(5, 3, 4), seed=2, shuffle_shards=2), 24)


@pytest.mark.parametrize("start", [1, 4, 5, 11, 12, 13, 30])
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_starting_later_continues_the_same_stream(start, world_size):
    order = StreamOrder(index_of(5, 3, 4), seed=7, rank=world_size - 1, world_size=world_size, shuffle_shards=2)
    assert keys(order, 20, start) == keys(order, start + 20)[start:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_share_an_epoch_without_overlap(world_size):
    orders = [StreamOrder(index_of(4, 4, 4, 4, 4, 4), 3, rank, world_size) for rank in range(world_size)]
    seen = [keys(order, 24 // world_size) for order in orders]
    assert Counter(key for part in seen for key in part) == Counter(f"s{s}/{i}" for s in range(6) for i in range(4))


def test_fewer_shards_than_workers_share_rows():
    seen = [keys(StreamOrder(index_of(3, 3), 3, rank, 3, shuffle_shards=1), 2) for rank in range(3)]
    assert len({key for part in seen for key in part}) == 6


def test_no_worker_starves_when_shards_do_not_deal_out():
    assert all(keys(StreamOrder(index_of(2, 2, 2), 0, rank, 2), 10) for rank in range(2))


def test_fewer_rows_than_workers_is_refused():
    with pytest.raises(UsageError, match="2 rows for 3 workers"):
        StreamOrder(index_of(2), 0, 0, 3)


def test_shards_shuffled_together_are_few_and_their_bytes_bounded():
    shards = [ShardEntry(name=f"s{i}", rows=2, sha256="", bytes=10 * (i + 1)) for i in range(6)]
    index = DatasetIndex(label_space=None, labelled=False, shards=shards)
    order = StreamOrder(index, 3, shuffle_shards=3, shuffle_bytes=45)
    groups = order.groups(0)
    assert all(len(group) <= 3 and (sum(s.bytes for s in group) <= 45 or len(group) == 1) for group in groups)
    assert sorted(s.name for group in groups for s in group) == [f"s{i}" for i in range(6)]
    assert len(groups) > 2
    assert Counter(keys(order, 12)) == Counter(f"s{s}/{i}" for s in range(6) for i in range(2))
    assert keys(order, 20, 7) == keys(order, 27)[7:]


def test_a_stream_that_wants_no_labels_leaves_them_with_the_reader():
    for labelled, label in ((True, (b"label", "l")), (False, (None, None))):
        stream = stream_of(StreamOrder(index_of(3), seed=0), labelled=labelled)
        samples = [sample for _, sample, _ in stream.read(next(stream.portions()))]
        assert [(sample.label, sample.label_path) for sample in samples] == [label] * 3


def test_a_shard_with_fewer_rows_than_the_index_says_is_named():
    stream = stream_of(StreamOrder(index_of(3, 2), seed=0))
    with pytest.raises(DataError, match=r"held/s0, held/s1: got 5 rows, expected 9 or more, as the index of held says"):
        next(stream.read(Portion(("s0", "s1"), np.array([0, 8]), 0)))


def prepared(order: StreamOrder, count: int, start: int, threads: int) -> dict[str, list]:
    """The first examples' arrays, one after the other."""
    arrays, rows = prepared_in_threads(stream_of(order, start), threads, in_flight=3), {}
    while len(rows.get("key", ())) < count:
        for name, array in next(arrays).items():
            rows.setdefault(name, []).extend(array.tolist())
    return {name: values[:count] for name, values in rows.items()}


@pytest.mark.parametrize("start", [0, 1, 7, 8, 19])
@pytest.mark.parametrize("rank", [0, 1])
def test_threads_prepare_the_same_examples_however_many_there_are_and_wherever_they_start(start, rank):
    order = StreamOrder(index_of(5, 2, 4), seed=7, rank=rank, world_size=2, shuffle_shards=2)
    alone = prepared(order, 20 + start, 0, threads=1)
    together = prepared(order, 20, start, threads=5)
    assert {name: values[start:] for name, values in alone.items()} == together
    assert together["key"] == keys(order, 20, start)
    assert len({tuple(pair) for pair in together["drawn"]}) == 20


def test_examples_are_what_a_generator_seeded_by_their_number_among_those_of_all_workers_makes_of_them():
    order = StreamOrder(index_of(2, 2), seed=7, rank=1, world_size=2)
    drawn = prepared(order, 5, 3, threads=2)["drawn"]
    assert drawn == [np.random.default_rng([7, 2 * n + 1]).integers(0, 2**31, 2).tolist() for n in range(3, 8)]


@pytest.mark.parametrize("threads", [1, 5])
def test_a_row_that_cannot_be_decoded_is_named_with_its_shard(threads):
    with pytest.raises(DataError, match=r"^row s1/2 of held/s1: it is no image$"):
        prepared(StreamOrder(index_of(4, 3), seed=0), 7, 0, threads)


@pytest.mark.parametrize(("start", "wanted"), [(0, 5), (3, 12), (7, 30), (12, 0)])
def test_no_more_samples_are_read_than_are_wanted(start, wanted):
    order = StreamOrder(index_of(5, 2, 4), seed=2, shuffle_shards=2)
    stream = replace(stream_of(order, start), count=wanted)
    seen = [one.sample.key for portion in stream.portions() for one in stream.read(portion)]
    assert seen == keys(order, wanted, start)
    assert sum(len(block["key"]) for block in prepared_in_threads(stream, 2)) == wanted
