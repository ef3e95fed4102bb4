"""The checks that every row passes before it is packed, and the record that is made of it."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from dakpn.data import codec
from dakpn.data.label_space import LabelSpace
from dakpn.data.manifest import RowRecord
from dakpn.data.pack_sources import Rows, SourceRow
from dakpn.data.schema import Sample
from dakpn.errors import DataError

_ROWS_IN_FLIGHT = 16


def checked_rows(rows: Rows, space: LabelSpace | None, threads: int) -> Iterator[tuple[Sample, RowRecord]]:
    """Yield each row and its record, loaded and checked in threads (decoding leaves the interpreter lock).

    A few rows are held at a time.

    Raises:
        DataError: An image or label that cannot be decoded, sizes that differ, an unknown label id.
        StorageError: A file that cannot be read.
    """
    loaders = rows.load()
    with ThreadPoolExecutor(threads) as pool:
        while group := list(islice(loaders, _ROWS_IN_FLIGHT)):
            yield from pool.map(partial(_check, space=space), group)


def _check(load: Callable[[], SourceRow], space: LabelSpace | None) -> tuple[Sample, RowRecord]:
    row = load()
    sample = row.sample
    height, width = codec.decode_image(sample.image, row.image_origin).shape[:2]
    if sample.label is not None and space is not None:
        _check_label(sample.label, row, (height, width), space)
    digest = _digest(sample.image)
    record = RowRecord(
        key=sample.key,
        source=row.source,
        source_sha256=digest,
        image_sha256=digest,
        label_sha256=None if sample.label is None else _digest(sample.label),
        height=height,
        width=width,
        status="done",
        reason=None,
    )
    return sample, record


def _check_label(label: bytes, row: SourceRow, image_size: tuple[int, int], space: LabelSpace) -> None:
    ids = codec.decode_label(label, row.label_origin)
    if ids.shape != image_size:
        raise DataError(
            f"{row.label_origin}: got a label of {ids.shape[1]} x {ids.shape[0]} pixels, expected "
            f"{image_size[1]} x {image_size[0]} as its image {row.image_origin}; replace one of them"
        )
    space.to_train_ids(ids, row.label_origin)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
