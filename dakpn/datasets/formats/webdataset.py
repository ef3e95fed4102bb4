"""Webdataset shards: a tar archive with the members `KEY.image.png` or `.jpg`, `KEY.json` and `KEY.label.png`.

The JSON holds the paths of image and label. Members of a row follow each other, rows are in their order, and
times and owners are zero, so that bytes repeat. Members with other endings are passed over unread.
"""

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import IOBase
from typing import IO, Any, BinaryIO, TypeVar

from dakpn.datasets.formats.base import (
    RowBlock,
    ShardFormat,
    ShardRow,
    WrittenShard,
    checked,
    row_missing,
    write_object,
)
from dakpn.datasets.formats.tar import TarMember, tar_members
from dakpn.datasets.inventory import junk_reason
from dakpn.datasets.schema import Sample
from dakpn.errors import DataError
from dakpn.images.header import detect_format
from dakpn.storage import open_input

_ENDINGS = {"image.png": "image", "image.jpg": "image", "label.png": "label", "json": "paths"}
_TAR_END = 2 * tarfile.BLOCKSIZE  # of zeros, and more up to a whole record
_Field = TypeVar("_Field")
_EXTENSIONS = {"png": "png", "jpeg": "jpg"}


class WebdatasetFormat(ShardFormat):
    """One uncompressed tar archive a shard, readable by the libraries `webdataset` and `datasets`."""

    suffix = ".tar"
    data_files = "train-*.tar"

    def rows(self, uri: str) -> Iterator[ShardRow]:
        """See `ShardFormat.rows`."""
        for key, fields in tar_rows(uri, _ENDINGS):
            yield ShardRow(key, partial(_to_sample, key, fields, uri))

    def access(self, uri: str) -> "_ArchiveRows":
        """See `ShardFormat.access`; every header is read, no content."""
        with open_input(uri) as file:
            return _ArchiveRows(uri, list(grouped_members(file, uri, _ENDINGS, lambda member: member)))

    def write(self, uri: str, samples: Iterable[Sample]) -> WrittenShard:
        """See `ShardFormat.write`."""
        return write_object(uri, lambda file: write_tar(file, samples, uri))


@dataclass(frozen=True)
class _ArchiveRows:
    uri: str
    rows: list[tuple[str, dict[str, TarMember]]]

    def read(self, position: int) -> RowBlock:
        if position >= len(self.rows):
            raise row_missing(self.uri, position, len(self.rows))
        key, members = self.rows[position]
        with open_input(self.uri) as file:
            fields = {name: member.read_from(file) for name, member in members.items()}
        return RowBlock(position, [_to_sample(key, fields, self.uri)])


def write_tar(file: IO[bytes] | IOBase, samples: Iterable[Sample], origin: str) -> None:
    """Write an archive of the samples in their order.

    Raises:
        DataError: A key or path that is not safe, a key that occurs twice, or an image or label of another
            type than the members' names can tell.
    """
    written = 0
    for sample in checked(samples, origin):
        for ending, data in _members(sample, origin):
            member = tarfile.TarInfo(f"{sample.key}.{ending}")  # mtime, uid and gid are 0, owners empty
            member.size = len(data)
            # Not TarFile.addfile, which copies every member in small pieces.
            for part in (member.tobuf(tarfile.PAX_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE)):
                written += file.write(part)
    file.write(bytes(_TAR_END + -(written + _TAR_END) % tarfile.RECORDSIZE))


def tar_rows(
    uri: str, endings: Mapping[str, str], passed_over: Callable[[str], None] = lambda name: None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and fields of each row of an archive: members that follow each other and differ in their ending.

    The ending is all behind the first dot of the member's file name.

    Args:
        uri: URI of the archive.
        endings: Ending, in lower case -> name of the field. Members with other endings, hidden ones (`._x`, as macOS
            adds them) and the junk of file managers are passed over unread.
        passed_over: Called with the name of each of those.

    Raises:
        StorageError: The archive does not exist or cannot be read.
        DataError: It is not safe to read or damaged, see `tar_members`; or a row has the same field twice.
    """
    with open_input(uri) as file:
        yield from grouped_members(file, uri, endings, TarMember.read, passed_over)


def grouped_members(
    file: BinaryIO,
    uri: str,
    endings: Mapping[str, str],
    take: Callable[[TarMember], _Field],
    passed_over: Callable[[str], None] = lambda name: None,
) -> Iterator[tuple[str, dict[str, _Field]]]:
    """Yield key and fields of each row, a field being what `take` makes of its member. See `tar_rows`."""
    key: str | None = None
    fields: dict[str, _Field] = {}
    for member in tar_members(file, uri):
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        field = endings.get(ending.lower())
        if junk_reason(member.name):
            passed_over(member.name)
            continue
        if field is None:
            passed_over(member.name)
            continue
        if key is not None and folder + slash + stem != key:
            yield key, fields
            fields = {}
        key = folder + slash + stem
        if field in fields:
            raise DataError(
                f"{uri}: the member {member.name!r} gives {key!r} a second {field}, expected one; pack it again"
            )
        fields[field] = take(member)
    if key is not None:
        yield key, fields


def _members(sample: Sample, origin: str) -> list[tuple[str, bytes]]:
    image_format = detect_format(sample.image, f"{origin}: {sample.image_path}")
    label_path = None if sample.label is None else sample.label_path
    paths = {"image_path": sample.image_path, "label_path": label_path}
    members = [
        (f"image.{_EXTENSIONS[image_format]}", sample.image),
        ("json", json.dumps(paths, ensure_ascii=False, sort_keys=True).encode()),
    ]
    if sample.label is not None:
        if detect_format(sample.label, f"{origin}: {sample.label_path}") != "png":
            raise DataError(f"{origin}: {sample.label_path}: got a JPEG label, expected PNG; get the original")
        members.append(("label.png", sample.label))
    return members


def _to_sample(key: str, fields: dict[str, bytes], uri: str) -> Sample:
    paths = _parse_paths(fields.get("paths", b""), key, uri)
    missing = [name for name in ("image", "label") if paths[f"{name}_path"] is not None and name not in fields]
    if missing:
        raise DataError(f"{uri}: the row {key!r} lacks its {' and '.join(missing)}; expected both: pack it again")
    return Sample(key, fields["image"], paths["image_path"], fields.get("label"), paths["label_path"])


def _parse_paths(data: bytes, key: str, uri: str) -> dict[str, Any]:
    try:
        paths = json.loads(data)
        if isinstance(paths["image_path"], str) and isinstance(paths["label_path"], str | None):
            return paths
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise DataError(
        f"{uri}: the row {key!r} has no readable member {key}.json with image_path and label_path; expected an "
        "archive that dakpn wrote: run `dakpn pack` on the folder of archives"
    )
