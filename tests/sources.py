"""Samples held in memory as a source of streams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dakpn.datasets.manifest import DatasetIndex, ShardEntry
from dakpn.datasets.schema import Sample


@dataclass(frozen=True)
class HeldSamples:
    """A `SampleSource` whose shards are lists."""

    shards: dict[str, Sequence[Sample]]
    uri: str = "held"

    @property
    def index(self) -> DatasetIndex:
        """All rows that there are."""
        shards = [ShardEntry(name=name, rows=len(rows), sha256="", bytes=1) for name, rows in self.shards.items()]
        return DatasetIndex(label_space=None, labelled=False, shards=shards)

    def shard_uri(self, name: str) -> str:
        """See `SampleSource`."""
        return f"{self.uri}/{name}"

    def read(self, name: str) -> Iterator[Sample]:
        """See `SampleSource`."""
        return iter(self.shards[name])
