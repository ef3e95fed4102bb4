"""The checks of one row, those that it passes before it is packed: the first error is raised, or all are collected.

`checked_rows` makes a record of each row that is packed; `check_pair`, `check_source_row` and `check_row` collect what
is wrong with one.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from dakpn.config import CheckDepth, Orientation
from dakpn.datasets.formats import ShardRow
from dakpn.datasets.formats.base import require_safe_names
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import RowRecord
from dakpn.datasets.schema import Sample
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import DataError, EmptyFileError, FormatError, OversizedError, StorageError
from dakpn.images import codec
from dakpn.images.header import image_header, label_header
from dakpn.images.upright import UndecidableError, stored_pair, stored_path
from dakpn.sources.check_report import Problem, ProblemKind
from dakpn.sources.label_reading import ReadLabel
from dakpn.sources.pairs import SourcePair
from dakpn.sources.rows import Rows, SourceRow
from dakpn.sources.source_path import read_file

_KINDS: tuple[tuple[type[Exception], ProblemKind], ...] = (  # the first that fits
    (UndecidableError, "undecidable_orientation"),
    (EmptyFileError, "empty_file"),
    (FormatError, "wrong_format"),
    (OversizedError, "oversized"),
    (StorageError, "unreadable"),
)


class CheckedRow(NamedTuple):
    """A row as it is to be stored, its record, and what was done to make it so: (what, which of it)."""

    sample: Sample
    record: RowRecord
    changes: tuple[tuple[str, str], ...]


def checked_rows(
    rows: Rows,
    space: LabelSpace | None,
    threads: int,
    depth: CheckDepth = "pixels",
    orientation: Orientation | None = None,
) -> Iterator[CheckedRow]:
    """Yield each row, made upright (see `stored_pair`), loaded and checked in threads.

    Decoding and hashing leave the interpreter lock. A row that still has the digests of its record from an earlier
    packing is not decoded again. A few rows are held at a time.

    Raises:
        DataError: An image or label that cannot be decoded, sizes that differ, an unknown label id; looking at
            headers alone, only what they tell.
        StorageError: A file that cannot be read.
    """
    yield from map_in_threads(partial(_check, space=space, depth=depth, orientation=orientation), rows.load(), threads)


def require_same_size(
    label_size: tuple[int, ...], label_origin: str, image_size: tuple[int, int], image_origin: str
) -> None:
    """Refuse a label whose size, (height, width), is not that of its image. Raises `DataError`."""
    if label_size != image_size:
        raise DataError(
            f"{label_origin}: got a label of {label_size[1]} x {label_size[0]} pixels, expected "
            f"{image_size[1]} x {image_size[0]} as its image {image_origin}; replace one of them"
        )


def _check(
    load: Callable[[], SourceRow], space: LabelSpace | None, depth: CheckDepth, orientation: Orientation | None
) -> CheckedRow:
    row = load()
    source_digest = _digest(row.sample.image)
    stored = stored_pair(row.sample.image, row.sample.label, row.image_origin, row.label_origin, orientation)
    if stored.changes:
        path = stored_path(row.sample.image_path, row.sample.image, stored.image)
        row = row._replace(sample=replace(row.sample, image=stored.image, label=stored.label, image_path=path))
    sample = row.sample
    digest = _digest(sample.image) if stored.changes else source_digest
    label_digest = None if sample.label is None else _digest(sample.label)
    if row.record and row.record.image_sha256 == digest and label_digest in (None, row.record.label_sha256):
        height, width = row.record.height, row.record.width
    elif depth == "headers":
        height, width = _check_headers(row)
    else:
        height, width = _check_pixels(row, space)
    record = RowRecord(
        key=sample.key,
        source=row.source,
        source_sha256=source_digest,
        image_sha256=digest,
        label_sha256=label_digest,
        height=height,
        width=width,
        status="done",
        reason=None,
    )
    return CheckedRow(sample, record, row.changes + stored.changes)


def _check_pixels(row: SourceRow, space: LabelSpace | None) -> tuple[int, int]:
    height, width, _ = codec.decode_image(row.sample.image, row.image_origin).shape
    if row.sample.label is not None and space is not None:
        ids = codec.decode_label(row.sample.label, row.label_origin)
        require_same_size(ids.shape, row.label_origin, (height, width), row.image_origin)
        space.to_train_ids(ids, row.label_origin)
    return height, width


def _check_headers(row: SourceRow) -> tuple[int, int]:
    image = image_header(row.sample.image, row.image_origin)
    size = image.height, image.width
    if row.sample.label is not None:
        label = label_header(row.sample.label, row.label_origin)
        require_same_size((label.height, label.width), row.label_origin, size, row.image_origin)
    return size


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Finding:
    """What one row holds, and what is wrong with it."""

    key: str
    path: str
    problems: list[Problem] = field(default_factory=list)
    size: tuple[int, int] | None = None
    labelled: bool = False
    label_ids: dict[int, int] = field(default_factory=dict)
    image_digest: bytes | None = None
    changes: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def noting(self, path: str, kind: ProblemKind | None = None) -> Iterator[None]:
        """Turn an error of the block into a problem, of the kind given or the one that the error tells."""
        try:
            yield
        except (DataError, StorageError) as error:
            self.problems.append(Problem(kind or kind_of(error), self.key, path, str(error)))


def check_pair(pair: SourcePair, space: LabelSpace | None, orientation: Orientation | None = None) -> Finding:
    """Check a pair of files as it would be packed; a label is read only if there is a label space."""
    finding = Finding(pair.key, str(pair.image_path))
    image: bytes | None = None
    label: ReadLabel | None = None
    label_path = str(pair.label_path)
    with finding.noting(finding.path):
        image = read_file(pair.image_path)
    if pair.label_path is not None and space is not None:
        with finding.noting(label_path):
            size = (0, 0)
            with contextlib.suppress(DataError):  # which is noted below
                size = codec.image_size(image or b"", finding.path)
            label = pair.read_label(size)
            finding.changes += label.changes
    _check_stored(finding, image, label and label.data, (finding.path, label_path), space, orientation)
    return finding


def check_source_row(
    load: Callable[[], SourceRow], space: LabelSpace | None, uri: str, orientation: Orientation | None = None
) -> Finding:
    """Check a row of another tool's file, which is read by `load`, as it would be packed."""
    finding = Finding("", uri)
    with finding.noting(uri):
        row = load()
        finding = Finding(row.sample.key, row.source, finding.problems, changes=list(row.changes))
        origins = row.image_origin, row.label_origin
        _check_stored(finding, row.sample.image, row.sample.label, origins, space, orientation)
    return finding


def _check_stored(
    finding: Finding,
    image: bytes | None,
    label: bytes | None,
    origins: tuple[str, str],
    space: LabelSpace | None,
    orientation: Orientation | None,
) -> None:
    """Check image and label, each if it could be read, as they would be stored."""
    origin, label_origin = origins
    label_path = finding.path if label_origin.startswith(f"{finding.path}: ") else label_origin
    if image is not None:
        if image:
            finding.image_digest = hashlib.blake2b(image, digest_size=16).digest()
        with finding.noting(finding.path):
            image, turned, changes = stored_pair(image, label, origin, label_origin, orientation)
            label = turned
            finding.changes += changes
            height, width, _ = codec.decode_image(image, origin).shape
            finding.size = height, width
    if label is not None and space is not None:
        with finding.noting(label_path):
            _check_label(finding, label, label_origin, origin, space)


def check_row(row: ShardRow, uri: str, space: LabelSpace | None, labelled: bool) -> Finding:
    """Check a row of the shard at `uri`; in a `labelled` dataset it must have a label."""
    finding = Finding(row.key, uri)
    origin = f"{uri}: {row.key}"
    with finding.noting(uri):
        sample = row.load()
        with finding.noting(uri, "bad_name"):
            require_safe_names(sample, uri)
        with finding.noting(uri):
            _check_image(finding, sample.image, origin)
        if sample.label is not None and space is not None:
            _check_label(finding, sample.label, f"{origin}: label", origin, space)
        elif labelled and sample.label is None:
            message = f"{origin} has no label, expected one as other rows have; add it, or pack without labels"
            finding.problems.append(Problem("missing_label", row.key, uri, message))
    return finding


def _check_image(finding: Finding, image: bytes, origin: str) -> None:
    if image:
        finding.image_digest = hashlib.blake2b(image, digest_size=16).digest()
    height, width, _ = codec.decode_image(image, origin).shape
    finding.size = height, width


def _check_label(finding: Finding, label: bytes, origin: str, image_origin: str, space: LabelSpace) -> None:
    finding.labelled = True
    ids = codec.decode_label(label, origin)
    counts = np.bincount(ids.ravel())
    finding.label_ids = {int(found): int(counts[found]) for found in np.flatnonzero(counts)}
    path = finding.path if origin.startswith(f"{finding.path}: ") else origin
    if finding.size is not None:
        with finding.noting(path, "size_mismatch"):
            require_same_size(ids.shape, origin, finding.size, image_origin)
    with finding.noting(path, "unknown_label_id"):
        space.to_train_ids(ids, origin)


def kind_of(error: DataError | StorageError) -> ProblemKind:
    """Return the kind of problem that an error tells of."""
    for type_, kind in _KINDS:
        if isinstance(error, type_):
            return kind
    return "damaged"
