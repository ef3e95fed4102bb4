"""The order of training samples: seeded, complete, dealt to workers, and startable anywhere."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest

from dakpn.data.manifest import DatasetIndex, ShardEntry
from dakpn.data.schema import Sample
from dakpn.data.stream import StreamOrder, stream_samples
from dakpn.errors import UsageError


def index_of(*rows: int) -> DatasetIndex:
    shards = [ShardEntry(name=f"s{i}", rows=n, sha256="", bytes=1) for i, n in enumerate(rows)]
    return DatasetIndex(label_space=None, labelled=False, shards=shards)


def keys(order: StreamOrder, count: int, start: int = 0) -> list[str]:
    sizes = {shard.name: shard.rows for shard in order.index.shards}

    def read(names: Sequence[str]) -> Iterator[Sample]:
        for name in names:
            yield from (Sample(f"{name}/{i}", b"", "", None, None) for i in range(sizes[name]))

    return [sample.key for sample in islice(stream_samples(order, read, start), count)]


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
