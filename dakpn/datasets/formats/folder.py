"""Folder shards: each image and label is a file of its own, at the path that it had in its source.

A shard is a list of files, `_dakpn/files/NAME.json` below the dataset's folder, written after them. Its digests
make a file that changed since an error instead of a surprise.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn import storage
from dakpn.datasets.formats.base import RowBlock, ShardFormat, ShardRow, WrittenShard, checked, row_missing
from dakpn.datasets.schema import Sample, validate_path
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import DataError

_THREADS = 8  # files are small and storage is slow to answer
_RESERVED = ("_dakpn", "_SUCCESS", "README.md")


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

    def rows(self, uri: str) -> Iterator[ShardRow]:
        """See `ShardFormat.rows`."""
        root = _root(uri)
        for row in _read_list(uri):
            yield ShardRow(row.key, partial(_read_row, row, root, uri))

    def read(self, uri: str, exclude: Set[str] = frozenset()) -> Iterator[Sample]:
        """See `ShardFormat.read`; files are read in threads."""
        kept = (row for row in self.rows(uri) if row.key not in exclude)
        yield from checked(map_in_threads(lambda row: row.load(), kept, _THREADS), uri)

    def access(self, uri: str) -> "_FolderRows":
        """See `ShardFormat.access`."""
        return _FolderRows(uri, _read_list(uri))

    def write(self, uri: str, samples: Iterable[Sample]) -> WrittenShard:
        """See `ShardFormat.write`."""
        root = _root(uri)
        rows, size = [], 0
        for row, written in map_in_threads(partial(_write_row, root=root), _own_paths(samples, uri), _THREADS):
            rows.append(row)
            size += written
        listed = _FileList(rows=rows).model_dump()
        data = (json.dumps(listed, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
        storage.write_bytes(uri, data)
        return WrittenShard(hashlib.sha256(data).hexdigest(), size + len(data))


@dataclass(frozen=True)
class _FolderRows:
    uri: str
    rows: list[_Row]

    def read(self, position: int) -> RowBlock:
        if position >= len(self.rows):
            raise row_missing(self.uri, position, len(self.rows))
        return RowBlock(position, [_read_row(self.rows[position], _root(self.uri), self.uri)])


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
