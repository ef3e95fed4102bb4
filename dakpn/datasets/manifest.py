"""What lies beside the shards of a dataset: index, completion markers, row manifests, the sign of success.

A dataset in the folder OUT is:

    OUT/train-00000-of-00004.parquet                     the shards, or .tar
    OUT/_dakpn/files/train-00000-of-00004.json           instead, in a plain folder: which files are a shard
    OUT/README.md                                        dataset card
    OUT/_dakpn/dataset.json                              `DatasetIndex`
    OUT/_dakpn/format.json                               of a plain folder: a job took it, see `claim_folder`
    OUT/_dakpn/run.json                                  how it was made
    OUT/_dakpn/shards/train-00000-of-00004.json          `ShardMarker`, written after the shard
    OUT/_dakpn/manifest/train-00000-of-00004.parquet     one `RowRecord` for each row
    OUT/_dakpn/quarantine/train-00000-of-00004.parquet   rows that could not be translated, see `quarantine`
    OUT/_dakpn/certificate.json                          of a translated dataset, see `certificate`
    OUT/_dakpn/report.json                               what its last run did, see `dakpn.translation.job_report`
    OUT/_dakpn/job.json                                  the translation that writes here, see `JobClaim`
    OUT/_dakpn/params.json, OUT/weights                  where shards hold params, see `params_dataset`
    OUT/_SUCCESS                                         written last
"""

import hashlib
import io
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from dakpn import storage
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.errors import DataError, StorageError, UsageError

FORMAT_VERSION = 1
"""Version of the layout and of the shard's bytes; a higher one makes finished shards stale."""

Content = Literal["pixels", "params"]
"""What the shards hold: images and labels, or what `dakpn.translation.stored_params` says of them."""

FOLDER = "_dakpn"
"""Folder of the dataset that holds what describes it."""

_ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "source", "source_sha256", "image_sha256", "label_sha256")]
    + [("height", pa.int32()), ("width", pa.int32()), ("status", pa.string()), ("reason", pa.string())]
)
_READERS: dict[Content, str] = {
    "pixels": "read it with SegmentationDataset, or translate it with content=params",
    "params": "read it with dakpn.translation.on_the_fly.TranslatingDataset, or give the dataset that it was made from",
}
_Model = TypeVar("_Model", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardEntry(_Record):
    """A shard as the index lists it.

    Attributes:
        name: Without extension.
        rows: Number of rows.
        sha256: Of the file; of the list of files and their digests in a plain folder.
        bytes: Size of the file; of all files in a plain folder.
    """

    name: str
    rows: int
    sha256: str
    bytes: int


class DatasetIndex(_Record):
    """All that a reader needs to know of a dataset; `label_space` is `LabelSpace.to_dict()`."""

    format_version: int = FORMAT_VERSION
    format: FormatName = "parquet"
    content: Content = "pixels"
    label_space: dict[str, Any] | None
    labelled: bool
    shards: list[ShardEntry]

    @property
    def rows(self) -> int:
        """Number of rows in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """Digest of the dataset's content: classes and the bytes of every shard."""
        # What was digested before there was a choice keeps its digest.
        first = {"format": "parquet", "content": "pixels"}
        content = self.model_dump_json(exclude={name for name, value in first.items() if getattr(self, name) == value})
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


class RowRecord(_Record):
    """Where a row came from and what became of it; digests are of the encoded bytes.

    A quarantined row has a `reason`, no `image_sha256`, and the size 0 x 0; it has no `source_sha256` either if its
    image could not even be read.
    """

    key: str
    source: str
    source_sha256: str | None
    image_sha256: str | None
    label_sha256: str | None
    height: int
    width: int
    status: Literal["done", "quarantined"]
    reason: str | None


class ShardMarker(_Record):
    """Proof that a shard is finished.

    Attributes:
        name: Name of the shard.
        fingerprint: Tells from which input and settings it was made.
        rows: Rows in the shard.
        quarantined: Rows of the input that are in the quarantine instead.
        sha256, bytes: As in `ShardEntry`.
        certificate: Certificate of a translated shard, as JSON: `dakpn.datasets.certificate.ShardCertificate`.
        changed: For a packed shard, as JSON: an `Inventory` of images and labels that are not stored as they were.
    """

    name: str
    fingerprint: str
    rows: int
    quarantined: int
    sha256: str
    bytes: int
    certificate: dict[str, JsonValue] | None = None
    changed: dict[str, JsonValue] | None = None


def shard_uri(
    dataset_uri: str,
    name: str,
    format: FormatName = "parquet",  # noqa: A002 - the word that says it
) -> str:
    """Return the URI of a shard: of its file, or of its list of files in a plain folder."""
    return FORMATS[format].uri(dataset_uri, name)


def shard_of(uri: str) -> str:
    """Return the name of the shard at a URI: the inverse of `shard_uri`."""
    return uri.rpartition("/")[2].rpartition(".")[0]


def card_header(format: FormatName) -> str:  # noqa: A002 - the word that says it
    """Return what opens a dataset card: it keeps `datasets.load_dataset` from taking the row manifests for data."""
    pattern = FORMATS[format].data_files
    if pattern is None:
        return ""
    return f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {pattern}\n---\n"


def read_index(dataset_uri: str, content: Content | None = "pixels") -> DatasetIndex:
    """Return the index of a finished dataset.

    Args:
        dataset_uri: URI of the dataset.
        content: What it is to hold; None takes any.

    Raises:
        UsageError: There is no dataset, it is not finished, holds something else, or a newer dakpn wrote it.
        DataError: The index is damaged.
        StorageError: It cannot be read.
    """
    uri = _index_uri(dataset_uri)
    if not storage.exists(uri):
        if storage.exists(storage.join(dataset_uri, FOLDER)):
            raise _unfinished(dataset_uri)
        raise UsageError(f"{dataset_uri} is not a packed dataset (no _dakpn folder); run `dakpn pack` first")
    if not is_complete(dataset_uri):
        raise _unfinished(dataset_uri)
    values = storage.read_json(uri)
    version = values.get("format_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UsageError(
            f"{dataset_uri} has format version {version}, expected at most {FORMAT_VERSION}; install a newer dakpn"
        )
    index = _validated(DatasetIndex, values, uri)
    if content is not None and index.content != content:
        raise UsageError(f"{dataset_uri} holds {index.content}, expected {content}; {_READERS[index.content]}")
    return index


def write_index(dataset_uri: str, index: DatasetIndex) -> None:
    """Write the index of a dataset. Raises `StorageError`."""
    storage.write_json(_index_uri(dataset_uri), index.model_dump())


def read_marker(dataset_uri: str, name: str) -> ShardMarker | None:
    """Return the completion marker of a shard; None if missing or damaged. Raises `StorageError`."""
    uri = _marker_uri(dataset_uri, name)
    if not storage.exists(uri):
        return None
    try:
        return _validated(ShardMarker, storage.read_json(uri), uri)
    except DataError:
        return None


def marked_shards(dataset_uri: str) -> list[str]:
    """Return the names of the shards that have a completion marker, sorted, by one listing. Raises `StorageError`."""
    uris = storage.list_files(storage.join(dataset_uri, FOLDER, "shards"), ".json")
    return [uri.rpartition("/")[2].removesuffix(".json") for uri in uris]


def write_marker(dataset_uri: str, marker: ShardMarker) -> None:
    """Write the completion marker of a shard, after the shard and its row manifest. Raises `StorageError`."""
    storage.write_json(_marker_uri(dataset_uri, marker.name), marker.model_dump())


def read_rows(dataset_uri: str, name: str) -> list[RowRecord]:
    """Return the row manifest of a shard.

    Raises:
        DataError: It is damaged.
        StorageError: It does not exist or cannot be read.
    """
    uri = _rows_uri(dataset_uri, name)
    data = storage.read_bytes(uri)
    try:
        # Not pq.read_table: threads of its that still run at exit abort the interpreter now and then.
        rows = pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{uri} is damaged ({error}); expected a row manifest: run the job again") from error
    return [_validated(RowRecord, row, uri) for row in rows]


def write_rows(dataset_uri: str, name: str, rows: list[RowRecord]) -> None:
    """Write the row manifest of a shard; equal rows give equal bytes. Raises `StorageError`."""
    table = pa.Table.from_pylist([row.model_dump() for row in rows], _ROW_SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write_bytes(_rows_uri(dataset_uri, name), buffer.getvalue())


def write_run(dataset_uri: str, run: dict[str, Any]) -> None:
    """Write how the dataset was made. Raises `StorageError`."""
    storage.write_json(storage.join(dataset_uri, FOLDER, "run.json"), run)


def read_run(dataset_uri: str) -> dict[str, Any]:
    """Return how the dataset was made; nothing if that is lost or damaged, for no reader depends on it."""
    try:
        run = storage.read_json(storage.join(dataset_uri, FOLDER, "run.json"))
    except (DataError, StorageError):
        return {}
    return run if isinstance(run, dict) else {}


def mark_success(dataset_uri: str) -> None:
    """Declare the dataset finished; the last write of a job. Raises `StorageError`."""
    storage.write_bytes(storage.join(dataset_uri, "_SUCCESS"), b"")


def is_complete(dataset_uri: str) -> bool:
    """Tell whether the job that writes this dataset has finished. Raises `StorageError`."""
    return storage.exists(storage.join(dataset_uri, "_SUCCESS"))


def _unfinished(dataset_uri: str) -> UsageError:
    return UsageError(
        f"the dataset {dataset_uri} is not finished (no _SUCCESS); run the command that writes it once more"
    )


def _index_uri(dataset_uri: str) -> str:
    return storage.join(dataset_uri, FOLDER, "dataset.json")


def _marker_uri(dataset_uri: str, name: str) -> str:
    return storage.join(dataset_uri, FOLDER, "shards", f"{name}.json")


def _rows_uri(dataset_uri: str, name: str) -> str:
    return storage.join(dataset_uri, FOLDER, "manifest", f"{name}.parquet")


def _validated(model: type[_Model], values: object, uri: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise DataError(
            f"{uri} is damaged: {place}: {first['msg']}; expected a {model.__name__}: run the job again"
        ) from error
