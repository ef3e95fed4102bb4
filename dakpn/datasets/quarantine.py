"""Rows that could not be translated, kept with the reason: OUT/_dakpn/quarantine/SHARD.parquet beside the output.

Image and label are the input's bytes, so that nothing is lost and a mended reader can try again. A shard without such
rows has no file. The columns `key`, `image` and `label` are those of a Parquet shard: `datasets.load_dataset` and
`dakpn.datasets.formats.parquet` read the file as one.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from dakpn import storage
from dakpn.datasets.formats.parquet import SHARD_SCHEMA, open_parquet, parquet_rows
from dakpn.datasets.manifest import FOLDER
from dakpn.errors import DataError

_SCHEMA = SHARD_SCHEMA.append(pa.field("reason", pa.string())).append(pa.field("position", pa.int64()))
_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row of the input that is not in the output, and why.

    Attributes:
        key: As the input has it; it may be empty or unsafe as a file name, if that is what is wrong.
        reason: One sentence.
        position: Position of the row in its shard, from 0, over all rows of the input.
        image, image_path: As in `Sample`; None if the input's row could not be read as far as that.
        label, label_path: As in `Sample`; None also without a label.
    """

    key: str
    reason: str
    position: int
    image: bytes | None
    image_path: str | None
    label: bytes | None
    label_path: str | None


def write_quarantine(dataset_uri: str, name: str, rows: Sequence[QuarantinedRow]) -> None:
    """Replace the quarantine of the shard `name` by these rows; equal rows give equal bytes, none leave no file.

    Raises:
        StorageError: It cannot be written.
    """
    uri = quarantine_uri(dataset_uri, name)
    if not rows:
        storage.delete(uri)
        return
    buffer = io.BytesIO()
    table = pa.Table.from_pylist([_to_columns(row) for row in rows], _SCHEMA)
    pq.write_table(table, buffer, compression="none", use_dictionary=False, write_statistics=False)
    storage.write_bytes(uri, buffer.getvalue())


def read_quarantine(dataset_uri: str, name: str) -> Iterator[QuarantinedRow]:
    """Yield the quarantined rows of the shard `name` in the input's order; none if it has no quarantine.

    Raises:
        DataError: The file is damaged.
        StorageError: It cannot be read.
    """
    uri = quarantine_uri(dataset_uri, name)
    if not storage.exists(uri):
        return
    with open_parquet(uri) as file:
        if missing := set(_SCHEMA.names) - set(file.schema_arrow.names):
            raise DataError(f"{uri} lacks the columns {', '.join(sorted(missing))}; run the translation again")
        for row in parquet_rows(file, _SCHEMA.names):
            image, label = row["image"] or {}, row["label"] or {}
            yield QuarantinedRow(
                row["key"],
                row["reason"],
                row["position"],
                image.get("bytes"),
                image.get("path"),
                label.get("bytes"),
                label.get("path"),
            )


def quarantined_shards(dataset_uri: str) -> list[str]:
    """Return the names of the shards that have a quarantine, sorted, by one listing. Raises `StorageError`."""
    uris = storage.list_files(storage.join(dataset_uri, FOLDER, "quarantine"), _SUFFIX)
    return [uri.rpartition("/")[2].removesuffix(_SUFFIX) for uri in uris]


def quarantine_uri(dataset_uri: str, name: str) -> str:
    """Return where the quarantine of the shard `name` lies, whether there is one or not."""
    return storage.join(dataset_uri, FOLDER, "quarantine", name + _SUFFIX)


def _to_columns(row: QuarantinedRow) -> dict[str, object]:
    image = None if row.image is None else {"bytes": row.image, "path": row.image_path}
    label = None if row.label is None else {"bytes": row.label, "path": row.label_path}
    return {"key": row.key, "image": image, "label": label, "reason": row.reason, "position": row.position}
