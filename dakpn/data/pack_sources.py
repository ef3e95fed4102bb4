"""What can be packed: a folder in a preset's layout, a packed dataset in any format, files of other tools.

A source is cut into shards without reading images; each cut knows how to read its rows later, in any process.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dakpn.data import codec, manifest, storage
from dakpn.data.datasets import DatasetPreset, load_preset
from dakpn.data.formats.foreign import SUFFIXES, count_foreign, list_foreign, read_foreign
from dakpn.data.label_space import LabelSpace
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.data.source_pairs import SourcePair
from dakpn.errors import DataError, UsageError

DEFAULT_ROWS = 256
"""Rows of a shard where neither caller nor source says how many."""

_DEFAULT_PRESET = "camvid"


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
class Source:
    """Rows to be packed, cut into shards.

    Attributes:
        uri: Where they are.
        title: What to call them.
        label_space: Their classes; None to pack without labels.
        label_note: A sentence on what the labels are.
        shards: The rows of each shard.
        unique_keys: Keys are known to differ; otherwise that remains to be checked.
    """

    uri: str
    title: str
    label_space: LabelSpace | None
    label_note: str
    shards: Sequence[Rows]
    unique_keys: bool = True


def open_source(
    uri: str, preset: DatasetPreset | None, split: str | None, rows_per_shard: int | None, labelled: bool | None
) -> Source:
    """Find out what is at `uri`, and cut it into shards.

    Args:
        uri: A folder in the preset's layout (local), a packed dataset, or a folder of `.parquet` or `.tar` files (see
            `read_foreign`).
        preset: Layout and classes; None means "camvid" for a folder. A packed dataset has its own.
        split: Split of the preset's layout; None takes all.
        rows_per_shard: At least 1. None means 256 for a folder, else the files' own.
        labelled: True requires labels, False leaves them out, None takes them if there are any.

    Raises:
        UsageError: Nothing that can be packed is there, or arguments that do not fit it.
        DataError: A file of another tool that is damaged.
        StorageError: The source cannot be read.
    """
    if rows_per_shard is not None and rows_per_shard < 1:
        raise UsageError(f"got rows_per_shard {rows_per_shard}, expected 1 or more")
    if storage.exists(storage.join(uri, "_dakpn")):
        _refuse(uri, "a packed dataset", split=split, preset=preset)
        return _packed(uri, rows_per_shard, labelled)
    if not _has_layout(uri, preset) and (files := list_foreign(uri)):
        _refuse(uri, f"a folder of {files[0].rpartition('.')[2]} files", split=split)
        return _foreign(uri, files, preset, rows_per_shard, labelled)
    if "://" in uri:
        raise UsageError(
            f"cannot pack from {uri}: expected a local folder of images, or a packed dataset or a folder of "
            f"{' or '.join(SUFFIXES)} files; check the URI, or copy the dataset to this machine"
        )
    return _folder(Path(uri), preset or load_preset(_DEFAULT_PRESET), split, rows_per_shard or DEFAULT_ROWS, labelled)


@dataclass(frozen=True)
class _PairRows:
    """Rows from pairs of files."""

    root: Path
    pairs: list[SourcePair]

    def load(self) -> Iterator[Callable[[], SourceRow]]:
        return (partial(_read_pair, pair, self.root) for pair in self.pairs)

    def state(self) -> list[Any]:
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


class _Part(NamedTuple):
    """Some rows of a file; `rows` is None for all of them, however many."""

    uri: str
    fingerprint: str
    start: int
    rows: int | None


@dataclass(frozen=True)
class _ShardRows:
    """Rows from parts of shards, or of other tools' files."""

    read: Callable[[str], Iterator[Sample]]
    parts: list[_Part]
    labelled: bool

    def load(self) -> Iterator[Callable[[], SourceRow]]:
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


def _folder(root: Path, preset: DatasetPreset, split: str | None, rows: int, labelled: bool | None) -> Source:
    pairs = preset.find_pairs(root, split, labelled)
    space = preset.label_space if pairs[0].label_path is not None else None
    groups = [pairs[start : start + rows] for start in range(0, len(pairs), rows)]
    return Source(
        str(root.resolve()), preset.name, space, preset.label_note, [_PairRows(root, group) for group in groups]
    )


def _packed(uri: str, rows_per_shard: int | None, labelled: bool | None) -> Source:
    index = manifest.read_index(uri)
    if labelled and not index.labelled:
        raise UsageError(f"{uri} has no labels, which were asked for; pack it with its labels first")
    keep = index.labelled and labelled is not False
    space = LabelSpace.from_dict(index.label_space) if keep and index.label_space else None
    located = [(manifest.shard_uri(uri, shard.name, index.format), shard.rows) for shard in index.shards]
    wholes = [_Part(at, storage.fingerprint(at), 0, rows) for at, rows in located]
    cuts = _cut(wholes, rows_per_shard) if rows_per_shard else [[whole] for whole in wholes]
    title = space.dataset if space else "Images"
    note = "Labels are those of the dataset that this one was made from, byte for byte."
    return Source(storage.absolute(uri), title, space, note, [_ShardRows(read_shard, parts, keep) for parts in cuts])


def _foreign(
    uri: str, files: list[str], preset: DatasetPreset | None, rows_per_shard: int | None, labelled: bool | None
) -> Source:
    first = next(read_foreign(files[0]), None)
    found = first is not None and first.label is not None
    if labelled and not found:
        raise UsageError(
            f"{files[0]} has no labels, which were asked for; expected a column label or mask, or members KEY.seg.png"
        )
    keep = found and labelled is not False
    if keep and preset is None:
        raise UsageError(
            f"{uri} has labels, and nothing says what their ids mean; name the preset of their classes, or pack "
            "without labels"
        )
    wholes = [_Part(at, storage.fingerprint(at), 0, count_foreign(at) if rows_per_shard else None) for at in files]
    cuts = _cut(wholes, rows_per_shard) if rows_per_shard else [[whole] for whole in wholes]
    title, space = preset.name if preset else "Images", preset.label_space if preset and keep else None
    shards = [_ShardRows(read_foreign, parts, keep) for parts in cuts]
    note = "Labels are the original ones, byte for byte."
    return Source(storage.absolute(uri), title, space, note, shards, unique_keys=False)


def _cut(wholes: list[_Part], rows_per_shard: int) -> list[list[_Part]]:
    """Cut files of known row counts anew: `rows_per_shard` rows each, the last may have fewer."""
    cuts: list[list[_Part]] = []
    room = 0
    for uri, fingerprint, start, rows in wholes:
        left = rows or 0
        while left:
            if not room:
                cuts.append([])
                room = rows_per_shard
            taken = min(room, left)
            cuts[-1].append(_Part(uri, fingerprint, start, taken))
            start, left, room = start + taken, left - taken, room - taken
    return cuts


def _has_layout(uri: str, preset: DatasetPreset | None) -> bool:
    """Tell whether a folder of images of the preset is there, other than the folder itself."""
    if "://" in uri:
        return False
    layouts = (preset or load_preset(_DEFAULT_PRESET)).layouts
    folders = [layout.images_folder(Path(uri)) for layout in layouts]
    return any(folder != Path(uri) and folder.is_dir() for folder in folders)


def _refuse(uri: str, kind: str, **arguments: object) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise UsageError(f"{uri} is {kind}, which takes no {' and no '.join(given)}; leave it out")
