"""The rows of a source, cut into shards to be; each cut knows how to read its rows later, in any process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dakpn.data import codec, storage
from dakpn.data.schema import Sample
from dakpn.data.source_pairs import SourcePair
from dakpn.errors import DataError


class SourceRow(NamedTuple):
    """A row as its source has it; the origins name image and label in errors."""

    sample: Sample
    source: str
    image_origin: str
    label_origin: str


class Rows(Protocol):
    """The rows of one shard to be, which can be sent to another process."""

    def load(self) -> Iterator[Callable[[], SourceRow]]:
        """Yield, in order, functions that give the rows; they may be called in threads."""
        ...

    def state(self) -> list[Any]:
        """Return what JSON can hold and changes when the rows do."""
        ...


@dataclass(frozen=True)
class PairRows:
    """Rows from pairs of files below the folder `root`."""

    root: Path
    pairs: list[SourcePair]

    def load(self) -> Iterator[Callable[[], SourceRow]]:
        """See `Rows.load`."""
        return (partial(_read_pair, pair, self.root) for pair in self.pairs)

    def state(self) -> list[Any]:
        """See `Rows.state`."""
        return [
            [pair.key, *_how(pair), *(storage.fingerprint(str(path)) for path in pair.files)] for pair in self.pairs
        ]


def _how(pair: SourcePair) -> list[Any]:
    """Return how a label is made; nothing where it is the original file."""
    return [] if pair.label_format == "class_ids" else [pair.label_format, [part.class_id for part in pair.label_parts]]


def _read_pair(pair: SourcePair, root: Path) -> SourceRow:
    origin = str(pair.image_path)
    image = storage.read_bytes(origin)
    label = pair.read_label(codec.image_size(image, origin)) if pair.label_path else None
    image_path = pair.image_path.relative_to(root).as_posix()
    label_path = pair.label_path.relative_to(root).as_posix() if pair.label_path else None
    sample = Sample(pair.key, image, image_path, label, label_path)
    return SourceRow(sample, image_path, origin, str(pair.label_path))


class Part(NamedTuple):
    """Some rows of a file; `rows` is None for all of them, however many."""

    uri: str
    fingerprint: str
    start: int
    rows: int | None


@dataclass(frozen=True)
class ShardRows:
    """Rows from parts of shards, or of other tools' files."""

    read: Callable[[str], Iterator[Sample]]
    parts: list[Part]
    labelled: bool

    def load(self) -> Iterator[Callable[[], SourceRow]]:
        """See `Rows.load`."""
        for part in self.parts:
            count = 0
            stop = None if part.rows is None else part.start + part.rows
            for sample in islice(self.read(part.uri), part.start, stop):
                count += 1
                yield partial(self._row, sample, part.uri)
            if part.rows is not None and count != part.rows:
                raise DataError(
                    f"{part.uri}: found {count} rows from row {part.start} on, expected {part.rows}; copy it again"
                )

    def state(self) -> list[Any]:
        """See `Rows.state`."""
        return [self.labelled, *([part.fingerprint, part.start, part.rows] for part in self.parts)]

    def _row(self, sample: Sample, uri: str) -> SourceRow:
        if not self.labelled:
            sample = Sample(sample.key, sample.image, sample.image_path, None, None)
        elif sample.label is None:
            raise DataError(
                f"{uri}: the row {sample.key!r} has no label, expected one as other rows have; add it, or pack "
                "without labels"
            )
        origin = f"{uri}: {sample.key}"
        return SourceRow(sample, uri, origin, f"{origin}: label")


def cut_parts(wholes: list[Part], rows_per_shard: int) -> list[list[Part]]:
    """Cut files of known row counts anew: `rows_per_shard` rows each, the last may have fewer."""
    cuts: list[list[Part]] = []
    room = 0
    for uri, fingerprint, start, rows in wholes:
        left = rows or 0
        while left:
            if not room:
                cuts.append([])
                room = rows_per_shard
            taken = min(room, left)
            cuts[-1].append(Part(uri, fingerprint, start, taken))
            start, left, room = start + taken, left - taken, room - taken
    return cuts
