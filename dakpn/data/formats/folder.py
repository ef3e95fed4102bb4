"""Folder shards: each image and label is a file of its own, at the path that it had in its source.

A shard is a list of files, `_dakpn/files/NAME.json` below the dataset's folder, written after them. Its digests
make a file that changed since an error instead of a surprise.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn.data import storage
from dakpn.data.formats.base import ShardFormat, WrittenShard, checked
from dakpn.data.schema import Sample, validate_path
from dakpn.errors import DataError

_THREADS = 8  # files are small and storage is slow to answer
_ROWS_IN_FLIGHT = 16
_RESERVED = ("_dakpn", "_SUCCESS", "README.md")
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    image: _File
    label: _File | None


class _FileList(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[_Row]


class FolderFormat(ShardFormat):
    """Many files a shard, and a list of them; a rerun of an interrupted shard writes the same files again."""

    suffix = ".json"
    folder = "_dakpn/files"

    def read(self, uri: str) -> Iterator[Sample]:
        """See `ShardFormat.read`."""
        root = _root(uri)
        rows = _read_list(uri)
        yield from checked(_in_threads(lambda row: _read_row(row, root, uri), rows), uri)

    def write(self, uri: str, samples: Iterable[Sample]) -> WrittenShard:
        """See `ShardFormat.write`."""
        root = _root(uri)
        rows, size = [], 0
        for row, written in _in_threads(lambda sample: _write_row(sample, root), _own_paths(samples, uri)):
            rows.append(row)
            size += written
        listed = _FileList(rows=rows).model_dump()
        data = (json.dumps(listed, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
        storage.write_bytes(uri, data)
        return WrittenShard(hashlib.sha256(data).hexdigest(), size + len(data))


def _root(uri: str) -> str:
    """Return the dataset's folder."""
    return uri.rpartition("/")[0].removesuffix("_dakpn/files").rstrip("/")


def _read_list(uri: str) -> list[_Row]:
    values = storage.read_json(uri)
    try:
        return _FileList.model_validate(values).rows
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{uri} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}; expected a list of files: "
            "pack the dataset again"
        ) from error


def _read_row(row: _Row, root: str, uri: str) -> Sample:
    image = _read_file(row.image, root, uri)
    label = None if row.label is None else _read_file(row.label, root, uri)
    return Sample(row.key, image, row.image.path, label, row.label.path if row.label else None)


def _read_file(file: _File, root: str, uri: str) -> bytes:
    try:
        path = storage.join(root, validate_path(file.path))  # before anything is opened
    except DataError as error:
        raise DataError(f"{uri}: {error}") from error
    data = storage.read_bytes(path)
    if (found := hashlib.sha256(data).hexdigest()) != file.sha256:
        raise DataError(
            f"{path} is not the file that was written (sha256 {found[:12]}, expected {file.sha256[:12]}); restore it, "
            "or pack the changed files as a new dataset"
        )
    return data


def _own_paths(samples: Iterable[Sample], uri: str) -> Iterator[Sample]:
    """Pass samples on whose paths are new, and not those of the dataset's own files."""
    seen: set[str] = set()
    for sample in checked(samples, uri):
        for path in filter(None, (sample.image_path, sample.label_path)):
            if path in seen or path.partition("/")[0] in _RESERVED:
                raise DataError(
                    f"{uri}: {sample.key!r} would be written to {path}, where another file of the dataset is; expected "
                    "a path of its own: rename it, or use another format"
                )
            seen.add(path)
        yield sample


def _write_row(sample: Sample, root: str) -> tuple[dict[str, Any], int]:
    files = [(sample.image_path, sample.image)]
    if sample.label is not None:
        if sample.label_path is None:
            raise DataError(f"{sample.key!r} has a label without a path; use another format than a folder")
        files.append((sample.label_path, sample.label))
    for path, data in files:
        storage.write_bytes(storage.join(root, path), data)
    listed = [{"path": path, "sha256": hashlib.sha256(data).hexdigest()} for path, data in files]
    row = {"key": sample.key, "image": listed[0], "label": listed[1] if len(listed) > 1 else None}
    return row, sum(len(data) for _, data in files)


def _in_threads(function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """Like `map`, a few calls at the same time."""
    items = iter(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        while group := list(islice(items, _ROWS_IN_FLIGHT)):
            yield from pool.map(function, group)
