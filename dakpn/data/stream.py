"""The order in which training sees samples: endless, shuffled anew each epoch, and a pure function of the seed.

Nothing here reads: a reader is handed in, so that the same order serves plain Python and Ray Data. Since the order is
known beforehand, a stream can start at any sample, which is what exact resume needs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from dakpn.data.manifest import DatasetIndex, ShardEntry
from dakpn.data.schema import Sample
from dakpn.errors import UsageError

ShardReader = Callable[[Sequence[str]], Iterator[Sample]]
"""Yields the samples of the named shards, one after the other, in order."""


@dataclass(frozen=True)
class StreamOrder:
    """Which shards and rows one worker sees, and when.

    Shards are dealt to the workers in the epoch's order; with fewer shards than workers each worker takes every
    `world_size`-th row of every shard instead. Rows are shuffled across up to `shuffle_shards` shards at a time.

    Attributes:
        index: of the dataset.
        seed: of the order.
        rank, world_size: of the worker.
        shuffle_shards: how many shards' encoded bytes are held at once, at most.
        shuffle_bytes: hold fewer shards than that rather than more bytes: they all are read before the first sample.
    """

    index: DatasetIndex
    seed: int
    rank: int = 0
    world_size: int = 1
    shuffle_shards: int = 4
    shuffle_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Refuse what would stream nothing for ever."""
        if self.index.rows < self.world_size:
            raise UsageError(
                f"got a dataset of {self.index.rows} rows for {self.world_size} workers; expected at least a row "
                "each: use fewer workers"
            )

    def groups(self, epoch: int) -> list[list[ShardEntry]]:
        """This worker's shards of an epoch, in groups that are shuffled together."""
        shards = [shard for shard in self.index.shards if shard.rows]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(shards))
        mine = [shards[i] for i in order]
        if not self._splits_rows:
            # An epoch that does not deal out evenly would starve the last workers: they take from the front.
            mine = [mine[i % len(mine)] for i in range(self.rank, self._dealt(len(mine)), self.world_size)]
        # Rows are split within groups, so a group must hold a row for every worker: then it holds all shards.
        return [mine] if self._splits_rows else self._grouped(mine)

    def rows(self, epoch: int, group: int, total: int) -> np.ndarray:
        """Positions of this worker's rows among the `total` rows of a group, in the order in which they are seen."""
        positions = np.random.default_rng([self.seed, epoch, 1 + group]).permutation(total)
        return positions[self.rank :: self.world_size] if self._splits_rows else positions

    def _grouped(self, shards: Sequence[ShardEntry]) -> list[list[ShardEntry]]:
        groups: list[list[ShardEntry]] = []
        held = 0
        for shard in shards:
            if not groups or len(groups[-1]) == self.shuffle_shards or held + shard.bytes > self.shuffle_bytes:
                groups.append([])
                held = 0
            groups[-1].append(shard)
            held += shard.bytes
        return groups

    @property
    def _splits_rows(self) -> bool:
        return sum(1 for shard in self.index.shards if shard.rows) < self.world_size

    def _dealt(self, shards: int) -> int:
        return -(-shards // self.world_size) * self.world_size


def stream_samples(order: StreamOrder, read_shards: ShardReader, start: int = 0) -> Iterator[Sample]:
    """Yield samples for ever, beginning with number `start` (counted from 0 over all epochs).

    Shards before the start are not read. Memory holds the encoded bytes of one group of shards.
    """
    for epoch in count():
        groups = order.groups(epoch)
        sizes = [len(order.rows(epoch, i, _rows_in(group))) for i, group in enumerate(groups)]
        if start >= sum(sizes):
            start -= sum(sizes)
            continue
        first = 0
        while start >= sizes[first]:
            start -= sizes[first]
            first += 1
        samples = read_shards([shard.name for group in groups[first:] for shard in group])
        for number, group in enumerate(groups[first:], first):
            held = list(islice(samples, _rows_in(group)))
            yield from (held[i] for i in order.rows(epoch, number, len(held))[start:])
            start = 0


def _rows_in(group: Sequence[ShardEntry]) -> int:
    return sum(shard.rows for shard in group)
