"""The order in which training sees samples: endless, shuffled anew each epoch, and a pure function of the seed.

Since the order is known beforehand, a stream can start at any sample, which is what exact resume needs, and whoever
prepares samples can work ahead, in whatever process. A stream is cut into portions: some shards that are shuffled
together, and the rows of them that one worker sees, in order. A portion can be read anywhere; each of its samples has
a number, from which, and from the seed, the randomness of its preparation follows.

`prepared_in_threads` prepares samples in this process, `cluster.ingest` in Ray's tasks: the same stream either way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dakpn.datasets import manifest
from dakpn.datasets.manifest import DatasetIndex, ShardEntry
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.datasets.threads import ReadAhead, map_in_threads
from dakpn.errors import DataError, UsageError
from dakpn.wording import counted

Arrays = dict[str, np.ndarray]
"""Named arrays of one example, or of several, stacked."""
Prepare = Callable[[Sample, np.random.Generator], Arrays]
"""Makes an example's arrays of a sample; the generator is its only source of chance."""
_READ_AHEAD = 64 * 2**20


class SampleSource(Protocol):
    """Where samples come from: a packed dataset, or anything that can be read in pieces like one."""

    @property
    def uri(self) -> str:
        """What to call it in messages and cards."""
        ...

    @property
    def index(self) -> DatasetIndex:
        """Its classes, and its shards with their rows."""
        ...

    def shard_uri(self, name: str) -> str:
        """What to call a shard in messages."""
        ...

    def read(self, name: str) -> Iterator[Sample]:
        """The samples of a shard, in order. Raises `DataError` and `StorageError`."""
        ...


@dataclass(frozen=True)
class PackedDataset:
    """A packed dataset as a `SampleSource`.

    Attributes:
        uri: of the dataset.
        index: see there.
    """

    uri: str
    index: DatasetIndex

    @classmethod
    def open(cls, uri: str) -> Self:
        """Read the index. Raises `UsageError` if there is no finished dataset."""
        return cls(uri, manifest.read_index(uri))

    def shard_uri(self, name: str) -> str:
        """See `SampleSource`."""
        return manifest.shard_uri(self.uri, name, self.index.format)

    def read(self, name: str) -> Iterator[Sample]:
        """See `SampleSource`."""
        return read_shard(self.shard_uri(name))


@dataclass(frozen=True)
class Portion:
    """Shards that are shuffled together, and what one worker sees of them.

    Attributes:
        shards: names, in the order in which they are read.
        rows: int64 [N], positions among all rows of the shards, in the order in which they are seen.
        first: number of the first of these samples among those of this worker, counted from 0 over all epochs.
    """

    shards: tuple[str, ...]
    rows: NDArray[np.int64]
    first: int


class Numbered(NamedTuple):
    """A sample of a stream.

    Attributes:
        number: among those of this worker, counted from 0 over all epochs.
        sample: without its label, if the stream wants none.
        shard: URI of its shard.
    """

    number: int
    sample: Sample
    shard: str


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
                f"got a dataset of {counted(self.index.rows, 'row')} for {counted(self.world_size, 'worker')}; "
                "expected at least a row "
                "each: use fewer workers"
            )

    def portions(self, start: int = 0) -> Iterator[Portion]:
        """The stream from sample number `start` on, for ever; shards before it are left out."""
        epoch_starts_at = 0
        for epoch in count():
            first = epoch_starts_at
            for number, group in enumerate(self.groups(epoch)):
                rows = self.rows(epoch, number, sum(shard.rows for shard in group))
                seen_before = max(0, start - first)
                if seen_before < len(rows):
                    names = tuple(shard.name for shard in group)
                    yield Portion(names, rows[seen_before:], first + seen_before)
                first += len(rows)
            epoch_starts_at = first

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

    def rows(self, epoch: int, group: int, total: int) -> NDArray[np.int64]:
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


@dataclass(frozen=True)
class Stream:
    """Samples to be prepared, in order.

    Attributes:
        source: where they come from.
        order: of its samples.
        prepare: makes the arrays of an example; it must be picklable by value (`cloudpickle`).
        labelled: False leaves the labels with the reader.
        start: number of the first sample.
        count: samples that are wanted, so that no more are prepared; None is endless.
    """

    source: SampleSource
    order: StreamOrder
    prepare: Prepare
    labelled: bool
    start: int = 0
    count: int | None = None

    def portions(self) -> Iterator[Portion]:
        """What to read, in order."""
        portions = self.order.portions(self.start)
        if self.count is None:
            yield from portions
            return
        end = self.start + self.count
        for portion in takewhile(lambda portion: portion.first < end, portions):
            yield replace(portion, rows=portion.rows[: end - portion.first])

    def read(self, portion: Portion) -> Iterator[Numbered]:
        """The samples of a portion, in order. Memory holds all its shards, encoded.

        Raises:
            DataError, StorageError: a shard is damaged, or cannot be read.
        """
        held = [(sample, name) for name in portion.shards for sample in self.source.read(name)]
        if len(held) <= portion.rows.max(initial=-1):
            raise DataError(
                f"{', '.join(map(self.source.shard_uri, portion.shards))}: got {counted(len(held), 'row')}, expected "
                f"{portion.rows.max() + 1} or more, as the index of {self.source.uri} says; pack the dataset again"
            )
        for number, row in enumerate(portion.rows, portion.first):
            sample, name = held[row]
            if not self.labelled:
                sample = replace(sample, label=None, label_path=None)
            yield Numbered(number, sample, self.source.shard_uri(name))

    def example(self, numbered: Numbered) -> Arrays:
        """The arrays of one sample.

        Its randomness is a function of the seed and of its number among the samples of all workers, who take turns: so
        a resumed stream crops as an uninterrupted one, and several workers crop as a single one that sees the same
        samples.

        Raises:
            DataError: it cannot be decoded, or does not fit; names its key and shard.
        """
        number, sample, shard = numbered
        rng = np.random.default_rng([self.order.seed, number * self.order.world_size + self.order.rank])
        try:
            return self.prepare(sample, rng)
        except DataError as error:
            raise DataError(f"row {sample.key} of {shard}: {error}") from error


class PreparedStream(Protocol):
    """Prepares the samples of a stream ahead of need."""

    def __call__(self, stream: Stream) -> Iterator[Arrays]:
        """Yield the examples in order, stacked in blocks of one or more: arrays [n, ...]."""
        ...


def prepared_in_threads(stream: Stream, threads: int, in_flight: int = 64) -> Iterator[Arrays]:
    """A `PreparedStream` of this process: shards are read ahead in one thread, samples prepared in a pool of others.

    Args:
        stream: what to prepare.
        threads: of the pool.
        in_flight: examples that are prepared, or waiting for their turn, at the same time, at most.
    """
    samples = (numbered for portion in stream.portions() for numbered in stream.read(portion))
    with ReadAhead(samples, lambda numbered: len(numbered.sample.image), _READ_AHEAD) as ahead:
        for example in map_in_threads(stream.example, ahead, threads, in_flight):
            yield stacked([example])


def stacked(examples: Sequence[Arrays]) -> Arrays:
    """Arrays [n, ...] of n examples' arrays of the same shapes."""
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}
