"""Parquet shards: many samples in one file, readable by `datasets.load_dataset` as images.

Columns are `key: string`, `image: struct<bytes, path>` and `label: struct<bytes, path>`, or null.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import SEEK_END, IOBase
from itertools import accumulate
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dakpn.datasets.formats.base import (
    RowBlock,
    ShardFormat,
    ShardRow,
    WrittenShard,
    checked,
    row_missing,
    write_object,
)
from dakpn.datasets.schema import Sample
from dakpn.errors import DataError
from dakpn.storage import open_input

# A row group is what a reader holds at once: small ones keep workers' memory low and the first batch quick.
_ROW_GROUP_ROWS = 32
_ROW_GROUP_BYTES = 8 * 2**20
_SMALL_BYTES = 64 * 2**20
_MOST_GROWTH = 50
_COLUMNS = ("key", "image", "label")
_ENCODED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Without this entry `datasets.load_dataset` would hand out dictionaries of bytes instead of images.
_IMAGE = {"_type": "Image"}
_FEATURES = {"key": {"dtype": "string", "_type": "Value"}, "image": _IMAGE, "label": _IMAGE}
SHARD_SCHEMA = pa.schema(
    [("key", pa.string()), ("image", _ENCODED), ("label", _ENCODED)],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
"""Arrow schema of a shard."""


class ParquetFormat(ShardFormat):
    """One Parquet file a shard. Columns beyond the three are ignored; no `label` column, or a null, is no label."""

    suffix = ".parquet"
    data_files = "train-*.parquet"

    def rows(self, uri: str) -> Iterator[ShardRow]:
        """See `ShardFormat.rows`."""
        with open_parquet(uri) as file:
            columns = _require_columns(file.schema_arrow, uri)
            for row in parquet_rows(file, columns):
                yield ShardRow(row["key"] or "", partial(_to_sample, row, uri))

    def access(self, uri: str) -> "_RowGroups":
        """See `ShardFormat.access`."""
        with open_parquet(uri) as file:
            columns = _require_columns(file.schema_arrow, uri)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            return _RowGroups(uri, columns, file.metadata, [0, *accumulate(sizes)])

    def write(self, uri: str, samples: Iterable[Sample]) -> WrittenShard:
        """See `ShardFormat.write`."""
        return write_object(uri, lambda file: write_parquet(file, samples, uri))


@dataclass(frozen=True)
class _RowGroups:
    uri: str
    columns: list[str]
    metadata: pq.FileMetaData
    starts: list[int]

    def read(self, position: int) -> RowBlock:
        if position >= self.starts[-1]:
            raise row_missing(self.uri, position, self.starts[-1])
        group = bisect_right(self.starts, position) - 1
        with open_parquet(self.uri, self.metadata) as file:
            rows = file.read_row_group(group, self.columns, use_threads=False).to_pylist()
        return RowBlock(self.starts[group], [_to_sample(row, self.uri) for row in rows])


def write_parquet(file: IO[bytes] | IOBase, samples: Iterable[Sample], origin: str) -> None:
    """Write a Parquet file of the samples in their order, holding a row group at a time.

    Raises:
        DataError: A key or path that is not safe, or a key that occurs twice.
    """
    with pq.ParquetWriter(  # the bytes are compressed images already
        file, SHARD_SCHEMA, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        for group in _row_groups(checked(samples, origin)):
            writer.write_table(_to_table(group))


@contextmanager
def open_parquet(uri: str, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, to be used in a `with` statement that does no more than read it.

    Args:
        uri: URI of the file.
        metadata: Metadata of the same file, if known from before; saves reading it.

    Raises:
        StorageError: It does not exist or cannot be read.
        DataError: It is no Parquet file, is damaged or truncated; also when reading on shows that.
    """
    with open_input(uri) as file:
        try:
            # Without pre_buffer, which reads the whole file ahead in threads that may still run at exit.
            parquet = pq.ParquetFile(file, metadata=metadata, pre_buffer=False)
            _refuse_bomb(parquet, file.seek(0, SEEK_END), uri)
            yield parquet
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise  # of the storage; pyarrow's own OSError, for damaged data, is plain and has no number
            raise DataError(
                f"{uri} is not a readable Parquet file, or is damaged ({' '.join(str(error).split())}); "
                "expected a shard: copy it again or pack the dataset again"
            ) from error


def _refuse_bomb(file: pq.ParquetFile, stored: int, uri: str) -> None:
    """Refuse row groups that grow beyond measure when they are read: encoded images hardly do.

    The metadata of columns would tell more, but pyarrow ends the process where that is damaged.
    """
    for number in range(file.num_row_groups):
        size = file.metadata.row_group(number).total_byte_size
        if size > _SMALL_BYTES and size > _MOST_GROWTH * stored:
            raise DataError(
                f"{uri}: a row group grows to {size} bytes when it is read, in a file of {stored}; expected at most "
                f"{_MOST_GROWTH} times as many: do not use this file"
            )


def parquet_rows(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of an open file, holding a few at a time, in this thread alone."""
    for batch in file.iter_batches(batch_size=_ROW_GROUP_ROWS, columns=list(columns), use_threads=False):
        yield from batch.to_pylist()


def is_encoded_image(kind: pa.DataType) -> bool:
    """Tell whether a column holds images as Hugging Face's libraries store them: struct<bytes, path>.

    The two come in any order, and in any of the Arrow types of bytes and text; the path may be missing.
    """
    if not pa.types.is_struct(kind):
        return False
    types = {field.name: field.type for field in kind}
    path = types.get("path", pa.null())
    return "bytes" in types and is_bytes(types["bytes"]) and (is_text(path) or pa.types.is_null(path))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether values of an Arrow type are text: of small or large offsets, views, or numbers of a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Tell whether values of an Arrow type are bytes: of small or large offsets, views, or numbers of a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _require_columns(schema: pa.Schema, uri: str) -> list[str]:
    present = [name for name in _COLUMNS if name in schema.names]
    fields = {name: schema.field(name).type for name in present}
    images = [name for name in present if name != "key"]
    good = "image" in present and is_text(fields.get("key", pa.null()))
    if not good or not all(is_encoded_image(fields[name]) for name in images):
        found = ", ".join(f"{column.name}: {column.type}" for column in schema)
        raise DataError(
            f"{uri} has the columns {found}; expected key: string, image: {_ENCODED} and, with labels, "
            f"label: {_ENCODED}; pack the dataset with dakpn"
        )
    return present


def _to_table(samples: Sequence[Sample]) -> pa.Table:
    """Return a row group, column by column, which is several times as fast as row by row."""
    images = _encoded([(s.image, s.image_path) for s in samples])
    labels = _encoded([None if s.label is None else (s.label, s.label_path) for s in samples])
    return pa.Table.from_arrays([pa.array([s.key for s in samples], pa.string()), images, labels], schema=SHARD_SCHEMA)


def _encoded(files: Sequence[tuple[bytes, str | None] | None]) -> pa.Array:
    data = pa.array([file and file[0] for file in files], pa.binary())
    paths = pa.array([file and file[1] for file in files], pa.string())
    absent = pa.array([file is None for file in files])
    return pa.StructArray.from_arrays([data, paths], fields=list(_ENCODED), mask=absent)


def _to_sample(row: dict[str, Any], uri: str) -> Sample:
    image, label = row["image"] or {}, row.get("label") or {}
    if row["key"] is None or image.get("bytes") is None or image.get("path") is None:
        raise DataError(
            f"{uri} holds a row with key {row['key']!r} that lacks its key, image or image path; "
            "expected all three: pack the dataset again"
        )
    return Sample(row["key"], image["bytes"], image["path"], label.get("bytes"), label.get("path"))


def _row_groups(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += len(sample.image) + len(sample.label or b"")
        if len(group) == _ROW_GROUP_ROWS or size >= _ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
