"""Members of a tar archive, one after the other, for archives that may come from anyone.

Own code around `tarfile`'s header parser, because `TarFile` takes a damaged or cut header for the end of the
archive (rows would be lost in silence), reads extension headers of any size before its caller sees them, and
keeps every member in memory. Nothing is ever extracted: a member's bytes are read, checked and handed on.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from dakpn.datasets.schema import validate_path
from dakpn.errors import DataError

MAX_MEMBER_BYTES = 2**30
"""Largest member that is read; an image of the most pixels that are decoded takes less."""

_MAX_EXTENSION_BYTES = 2**20
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_KINDS = {
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}


@dataclass(frozen=True)
class TarMember:
    """A regular file in an archive: its safe name, and where its bytes are. Read it before the next one."""

    name: str
    size: int
    _file: BinaryIO
    _start: int
    _origin: str

    @property
    def start(self) -> int:
        """Position of the first byte of the content in the archive."""
        return self._start

    def read(self) -> bytes:
        """Return the content. Raises `DataError` if it is too large."""
        return self.read_from(self._file)

    def head(self, size: int) -> bytes:
        """Return the first bytes of the content."""
        self._file.seek(self._start)
        return self._file.read(min(size, self.size))

    def read_from(self, file: BinaryIO) -> bytes:
        """Return the content, read from the same archive opened once more.

        Raises:
            DataError: It is larger than `MAX_MEMBER_BYTES`.
        """
        if self.size > MAX_MEMBER_BYTES:
            raise DataError(
                f"{self._origin}: the member {self.name!r} has {self.size} bytes, expected at most "
                f"{MAX_MEMBER_BYTES}; take it out of the archive"
            )
        file.seek(self._start)
        return file.read(self.size)


class _Header(NamedTuple):
    kind: bytes
    name: str
    size: int


def tar_members(file: BinaryIO, origin: str) -> Iterator[TarMember]:
    """Yield the regular files of an uncompressed archive in their order; folders are passed over.

    Args:
        file: Open for reading and seeking.
        origin: URI of the archive, for errors.

    Raises:
        DataError: The archive is damaged, truncated or compressed; or a member is a link, a device or a
            sparse file, or has a name that is no plain relative path.
    """
    end = file.seek(0, io.SEEK_END)
    position = 0
    name: str | None = None  # of the member that follows, from an extension header
    size: int | None = None
    while (header := _read_header(file, position, end, origin)) is not None:
        start = position + _BLOCK
        if header.kind in (*_PAX, tarfile.GNUTYPE_LONGNAME):
            extension = _read_extension(file, header, origin)
            if header.kind in _PAX:
                name, size = _parse_pax(extension, origin)
            else:
                name = extension.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        elif header.kind not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            header = header._replace(
                name=header.name if name is None else name, size=header.size if size is None else size
            )
            name = size = None
            _require_file(header, start, end, origin)
            if header.kind != tarfile.DIRTYPE:
                yield TarMember(_safe_name(header.name, origin), header.size, file, start, origin)
        position = start + -(-header.size // _BLOCK) * _BLOCK
    _refuse_more(file, position, end, origin)


def _refuse_more(file: BinaryIO, position: int, end: int, origin: str) -> None:
    """Refuse an archive that goes on behind its end mark, as two that were joined do: readers stop there."""
    file.seek(position)
    while data := file.read(_CHUNK):
        if data.count(0) < len(data):
            raise DataError(
                f"{origin}: {end - position} bytes lie behind the end mark at byte {position}, and are not all zero; "
                "expected one archive: if several were joined, unpack with `tar --ignore-zeros` and pack the folder"
            )


def _read_header(file: BinaryIO, position: int, end: int, origin: str) -> _Header | None:
    """Return the header at a position, or None at the mark that ends an archive."""
    file.seek(position)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise DataError(
            f"{origin}: the archive is truncated ({end} bytes, no end mark); expected a complete uncompressed tar: "
            "copy or download it again"
        )
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue] - it is there, but not in the stubs
        return None
    except tarfile.TarError as error:
        raise DataError(
            f"{origin}: the archive is damaged at byte {position} ({error}), or is no uncompressed tar; copy it "
            "again, or decompress it first"
        ) from error
    if header.size < 0:
        raise DataError(f"{origin}: the member {header.name!r} has the size {header.size}; copy the archive again")
    return _Header(header.type, header.name, header.size)


def _read_extension(file: BinaryIO, header: _Header, origin: str) -> bytes:
    if header.size > _MAX_EXTENSION_BYTES:
        raise DataError(
            f"{origin}: the extension header {header.name!r} has {header.size} bytes, expected at most "
            f"{_MAX_EXTENSION_BYTES}; do not use this archive"
        )
    return file.read(header.size)


def _parse_pax(data: bytes, origin: str) -> tuple[str | None, int | None]:
    """Return name and size of the next member from `LENGTH KEYWORD=VALUE` records; the others do not matter."""
    name, size = None, None
    position = 0
    try:
        while position < len(data):
            length = int(data[position : data.index(b" ", position)])
            record = data[position : position + length]
            if length < 5 or len(record) < length or not record.endswith(b"\n"):
                raise ValueError(f"a record of {length} bytes")
            position += length
            keyword, _, value = record.partition(b" ")[2][:-1].partition(b"=")
            if keyword.startswith(b"GNU.sparse."):
                raise ValueError("a sparse file")
            if keyword == b"path":
                name = value.decode("utf-8", "surrogateescape")
            elif keyword == b"size":
                size = int(value)
                if size < 0:
                    raise ValueError(f"the size {size}")
    except ValueError as error:
        raise DataError(f"{origin}: got a bad extension header ({error}); pack the archive again") from error
    return name, size


def _require_file(header: _Header, start: int, end: int, origin: str) -> None:
    """Refuse whatever is neither file nor folder, and a file that the archive's end cuts off."""
    if header.kind not in (*_FILES, tarfile.DIRTYPE):
        kind = _KINDS.get(header.kind, f"special file of type {header.kind!r}")
        raise DataError(
            f"{origin}: the member {header.name!r} is a {kind}, expected plain files; take it out of the archive"
        )
    if start + header.size > end:
        raise DataError(
            f"{origin}: the archive is truncated in its member {header.name!r} ({end} bytes, expected "
            f"{start + header.size} or more); copy or download it again"
        )


def _safe_name(name: str, origin: str) -> str:
    try:
        return validate_path(name.removeprefix("./"))  # as `tar -c .` writes it
    except DataError as error:
        raise DataError(f"{origin}: {error}") from error
