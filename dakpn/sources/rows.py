"""The rows of a source, cut into shards to be; each cut knows how to read its rows later, in any process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

from dakpn.datasets import manifest
from dakpn.datasets.manifest import RowRecord
from dakpn.datasets.schema import Sample
from dakpn.datasets.threads import call_ahead
from dakpn.errors import DataError, StorageError
from dakpn.images import codec
from dakpn.images.header import is_webp
from dakpn.sources.label_reading import LabelReader
from dakpn.sources.pairs import SourcePair
from dakpn.sources.source_path import ListedPath, SourcePath, file_size, fingerprint, name_below, read_file
from dakpn.wording import counted

READS_IN_FLIGHT = 16
"""Rows of a folder in a bucket that are read at a time: each is mostly waited for."""


class SourceRow(NamedTuple):
    """A row as its source has it.

    Attributes:
        sample: The row.
        source: Its file, for the record.
        image_origin, label_origin: What to call image and label in errors.
        record: What was found out about it when it was packed before; None if nothing is known.
        changes: What was done to its label when it was read: (what, which of it).
    """

    sample: Sample
    source: str
    image_origin: str
    label_origin: str
    record: RowRecord | None = None
    changes: tuple[tuple[str, str], ...] = ()


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

    root: SourcePath
    pairs: list[SourcePair]

    def load(self) -> Iterator[Callable[[], SourceRow]]:
        """See `Rows.load`."""
        reads = (partial(_read_pair, pair, self.root) for pair in self.pairs)
        return call_ahead(reads, READS_IN_FLIGHT) if isinstance(self.root, ListedPath) else reads

    def state(self) -> list[Any]:
        """See `Rows.state`."""
        return [[pair.key, *_how(pair), *map(fingerprint, pair.files)] for pair in self.pairs]


def _how(pair: SourcePair) -> list[Any]:
    """Return how a label is made; nothing where it is the original file."""
    if pair.label_format in ("first_channel", "celebamask_parts"):
        return [pair.label_format, [part.class_id for part in pair.label_parts]]
    return pair.reader.state()


def _read_pair(pair: SourcePair, root: SourcePath) -> SourceRow:
    origin = str(pair.image_path)
    image = read_file(pair.image_path)
    size = (0, 0) if pair.label_path is None or is_webp(image) else codec.image_size(image, origin)
    made = pair.read_label(size) if pair.label_path else None
    image_path = name_below(pair.image_path, root)
    label_path = name_below(pair.label_path, root) if pair.label_path else None
    sample = Sample(pair.key, image, image_path, made and made.data, label_path)
    return SourceRow(sample, image_path, origin, str(pair.label_path), changes=made.changes if made else ())


class Part(NamedTuple):
    """Some rows of a file; `rows` is None for all of them, however many."""

    uri: str
    fingerprint: str
    start: int
    rows: int | None


@dataclass(frozen=True)
class ShardRows:
    """Rows from parts of shards, or of other tools' files.

    Attributes:
        read: Yields the samples of a file.
        parts: What to take, in order.
        labelled: Whether labels are kept, and must be there.
        dataset: URI of the packed dataset that the shards belong to; None for other tools' files.
        reader: How labels are read; None takes them as they are.
    """

    read: Callable[[str], Iterator[Sample]]
    parts: list[Part]
    labelled: bool
    dataset: str | None = None
    reader: LabelReader | None = None

    def load(self) -> Iterator[Callable[[], SourceRow]]:
        """See `Rows.load`."""
        for part in self.parts:
            count = 0
            records = _known_records(self.dataset, part.uri)
            stop = None if part.rows is None else part.start + part.rows
            for sample in islice(self.read(part.uri), part.start, stop):
                count += 1
                yield partial(self._row, sample, part.uri, records.get(sample.key))
            if part.rows is not None and count != part.rows:
                raise DataError(
                    f"{part.uri}: found {counted(count, 'row')} from row {part.start} on, expected {part.rows}; copy "
                    "it again"
                )

    def state(self) -> list[Any]:
        """See `Rows.state`."""
        how = self.reader.state() if self.reader and self.labelled else []
        return [self.labelled, *([part.fingerprint, part.start, part.rows] for part in self.parts), *how]

    def _row(self, sample: Sample, uri: str, record: RowRecord | None) -> SourceRow:
        if not self.labelled:
            sample = Sample(sample.key, sample.image, sample.image_path, None, None)
        elif sample.label is None:
            raise DataError(
                f"{uri}: the row {sample.key!r} has no label, expected one as other rows have; add it, or pack "
                "without labels"
            )
        origin = f"{uri}: {sample.key}"
        changes: tuple[tuple[str, str], ...] = ()
        if self.reader and sample.label is not None:
            label, changes = self.reader.read(sample.label, f"{origin}: label")
            sample = replace(sample, label=label)
        return SourceRow(sample, uri, origin, f"{origin}: label", record, changes)


def _known_records(dataset: str | None, uri: str) -> dict[str, RowRecord]:
    """Return the records of a shard's rows by key; none where they cannot be read, and rows are looked at anew."""
    if dataset is None:
        return {}
    try:
        return {row.key: row for row in manifest.read_rows(dataset, manifest.shard_of(uri)) if row.status == "done"}
    except (DataError, StorageError):
        return {}


def cut_pairs(pairs: Sequence[SourcePair], most_rows: int, most_bytes: int | None) -> list[list[SourcePair]]:
    """Cut pairs of files into shards of so many rows at most and, unless None, of so many bytes or one row."""
    if most_bytes is None:
        return [list(pairs[start : start + most_rows]) for start in range(0, len(pairs), most_rows)]
    cuts: list[list[SourcePair]] = []
    held = 0
    for pair in pairs:
        size = sum(map(file_size, pair.files))
        if not cuts or len(cuts[-1]) == most_rows or held + size > most_bytes:
            cuts.append([])
            held = 0
        cuts[-1].append(pair)
        held += size
    return cuts


def cut_parts(wholes: list[Part], rows_per_shard: int) -> list[list[Part]]:
    """Cut files of known row counts anew: `rows_per_shard` rows each, the last may have fewer."""
    cuts: list[list[Part]] = []
    room = 0
    for uri, version, start, rows in wholes:
        left = rows or 0
        while left:
            if not room:
                cuts.append([])
                room = rows_per_shard
            taken = min(room, left)
            cuts[-1].append(Part(uri, version, start, taken))
            start, left, room = start + taken, left - taken, room - taken
    return cuts
