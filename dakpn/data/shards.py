"""Parquet shards: many samples in one file, readable by `datasets.load_dataset` as images.

Columns are `key: string`, `image: struct<bytes, path>` and `label: struct<bytes, path>`, or null.
"""

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dakpn.data.schema import Sample, validate_key, validate_path
from dakpn.data.storage import open_input
from dakpn.errors import DataError

# A row group is what a reader holds at once: small ones keep workers' memory low and the first batch quick.
_ROW_GROUP_ROWS = 32
_ROW_GROUP_BYTES = 8 * 2**20
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


def shard_name(index: int, count: int) -> str:
    """Return the name, without extension, of shard `index` (from 0) of `count`: `train-00003-of-00008`.

    Raises:
        ValueError: The index is not below the count.
    """
    if not 0 <= index < count:
        raise ValueError(f"got shard {index} of {count}, expected 0 to {count - 1}")
    return f"train-{index:05d}-of-{count:05d}"


def encode_shard(samples: Iterable[Sample]) -> bytes:
    """Return a Parquet file of the samples in their order; the same samples give the same bytes.

    The samples are taken one at a time, so a generator keeps memory at the size of the file.

    Raises:
        DataError: A key or path that is not safe, or a key that occurs twice.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(  # the bytes are compressed images already
        buffer, SHARD_SCHEMA, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        for group in _row_groups(_checked(samples, "the new shard")):
            writer.write_table(pa.Table.from_pylist([_to_row(sample) for sample in group], SHARD_SCHEMA))
    return buffer.getvalue()


def read_shard(uri: str) -> Iterator[Sample]:
    """Yield the samples of a shard in their order, holding a few rows at a time.

    Columns beyond the three are ignored; a missing `label` column, or a null in it, means no label.

    Raises:
        StorageError: The file does not exist or cannot be read.
        DataError: It is no Parquet file, is damaged or truncated, has not the columns of a shard, or holds a
            key that is unsafe or occurs twice.
    """
    with open_input(uri) as file:
        yield from _checked(_read_rows(file, uri), uri)


def _read_rows(file: Any, uri: str) -> Iterator[Sample]:
    try:
        # Without pre_buffer, which reads the whole file ahead in threads that may still run at exit.
        shard = pq.ParquetFile(file, pre_buffer=False)
        columns = _require_columns(shard.schema_arrow, uri)
        for batch in shard.iter_batches(batch_size=_ROW_GROUP_ROWS, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                yield _to_sample(row, uri)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise  # of the storage; pyarrow's own OSError, for damaged data, is plain and has no number
        raise DataError(
            f"{uri} is not a readable Parquet file, or is damaged ({' '.join(str(error).split())}); "
            "expected a shard: copy it again or pack the dataset again"
        ) from error


def _require_columns(schema: pa.Schema, uri: str) -> list[str]:
    present = [name for name in _COLUMNS if name in schema.names]
    fields = {name: schema.field(name).type for name in present}
    images = [name for name in present if name != "key"]
    good = "image" in present and pa.types.is_string(fields.get("key", pa.null()))
    if not good or not all(_is_encoded(fields[name]) for name in images):
        found = ", ".join(f"{column.name}: {column.type}" for column in schema)
        raise DataError(
            f"{uri} has the columns {found}; expected key: string, image: {_ENCODED} and, with labels, "
            f"label: {_ENCODED}; pack the dataset with dakpn"
        )
    return present


def _is_encoded(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {*_ENCODED} <= {*kind}


def _to_row(sample: Sample) -> dict[str, Any]:
    label = None if sample.label is None else {"bytes": sample.label, "path": sample.label_path}
    return {"key": sample.key, "image": {"bytes": sample.image, "path": sample.image_path}, "label": label}


def _to_sample(row: dict[str, Any], uri: str) -> Sample:
    image, label = row["image"] or {}, row.get("label") or {}
    if row["key"] is None or image.get("bytes") is None or image.get("path") is None:
        raise DataError(
            f"{uri} holds a row with key {row['key']!r} that lacks its key, image or image path; "
            "expected all three: pack the dataset again"
        )
    return Sample(row["key"], image["bytes"], image["path"], label.get("bytes"), label.get("path"))


def _checked(samples: Iterable[Sample], origin: str) -> Iterator[Sample]:
    """Pass samples on whose names are safe and whose keys are new."""
    seen: set[str] = set()
    for sample in samples:
        try:
            validate_key(sample.key)
            for path in (sample.image_path, sample.label_path):
                if path is not None:
                    validate_path(path)
        except DataError as error:
            raise DataError(f"{origin}: {error}") from error
        if sample.key in seen:
            raise DataError(f"{origin} holds the key {sample.key!r} twice; expected once: pack it again")
        seen.add(sample.key)
        yield sample


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
