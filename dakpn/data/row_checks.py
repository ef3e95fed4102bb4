"""The checks that every row passes before it is packed, and the record that is made of it."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dakpn.data import codec
from dakpn.data.label_space import LabelSpace
from dakpn.data.manifest import RowRecord
from dakpn.data.schema import Sample
from dakpn.data.source_rows import Rows, SourceRow
from dakpn.data.threads import map_in_threads
from dakpn.errors import DataError


def checked_rows(rows: Rows, space: LabelSpace | None, threads: int) -> Iterator[tuple[Sample, RowRecord]]:
    """Yield each row and its record, loaded and checked in threads (decoding leaves the interpreter lock).

    A few rows are held at a time.

    Raises:
        DataError: An image or label that cannot be decoded, sizes that differ, an unknown label id.
        StorageError: A file that cannot be read.
    """
    yield from map_in_threads(partial(_check, space=space), rows.load(), threads)


def require_same_size(
    label: NDArray[np.uint8] | NDArray[np.uint16], label_origin: str, image_size: tuple[int, int], image_origin: str
) -> None:
    """Refuse a label, [H, W], whose size is not that of its image, (height, width). Raises `DataError`."""
    if label.shape != image_size:
        raise DataError(
            f"{label_origin}: got a label of {label.shape[1]} x {label.shape[0]} pixels, expected "
            f"{image_size[1]} x {image_size[0]} as its image {image_origin}; replace one of them"
        )


def _check(load: Callable[[], SourceRow], space: LabelSpace | None) -> tuple[Sample, RowRecord]:
    row = load()
    sample = row.sample
    height, width, _ = codec.decode_image(sample.image, row.image_origin).shape
    if sample.label is not None and space is not None:
        ids = codec.decode_label(sample.label, row.label_origin)
        require_same_size(ids, row.label_origin, (height, width), row.image_origin)
        space.to_train_ids(ids, row.label_origin)
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
