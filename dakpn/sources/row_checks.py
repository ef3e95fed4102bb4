"""The checks that every row passes before it is packed, and the record that is made of it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import RowRecord
from dakpn.datasets.schema import Sample
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import DataError
from dakpn.images import codec
from dakpn.images.header import image_header, label_header
from dakpn.images.upright import Orientation, stored_pair, stored_path
from dakpn.sources.rows import Rows, SourceRow

CheckDepth = Literal["pixels", "headers"]
"""How closely rows are looked at: every pixel and label id, or the headers of image and label alone."""


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
