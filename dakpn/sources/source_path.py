"""Where the files of a dataset lie: a local `Path`, or a path in a bucket or in archives that were listed once.

A `ListedPath` answers from that listing what is asked of a `Path` when a dataset is looked for, so that images and
labels are found by the same code in all of them.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cached_property, total_ordering
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias, cast

from dakpn import storage
from dakpn.datasets.inventory import is_left_out
from dakpn.storage import ListedFile


class MemberFile(NamedTuple):
    """A file inside an uncompressed archive: its bytes, what changes when it does, and where in which archive it is."""

    size: int
    version: str
    archive: str
    start: int


class _Tree:
    """The files below the folder of a bucket, or inside archives.

    Names are never cleaned up: "a//b" and "a/../b" are what they are.
    """

    def __init__(self, uri: str, files: Mapping[str, ListedFile | MemberFile]) -> None:
        self.uri, self.files = uri, files

    @cached_property
    def names(self) -> list[str]:
        return sorted(self.files)

    @cached_property
    def folders(self) -> frozenset[str]:
        found: set[str] = set()
        for name in self.files:
            folder = name.rpartition("/")[0]
            while folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    def below(self, folder: str) -> Iterator[str]:
        prefix = f"{folder}/" if folder else ""
        for index in range(bisect_left(self.names, prefix), len(self.names)):
            if not self.names[index].startswith(prefix):
                return
            yield self.names[index]


@total_ordering
class ListedPath:
    """A file or folder of a bucket or archive: its name below what was listed, and what of `Path` datasets need.

    Its text is its URI. Sent to another process, a path knows of its own file only.
    """

    __slots__ = ("_name", "_tree")

    def __init__(self, tree: _Tree, name: str) -> None:
        self._tree, self._name = tree, name

    def __str__(self) -> str:
        return f"{self._tree.uri}/{self._name}" if self._name else self._tree.uri

    def __repr__(self) -> str:
        return f"ListedPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ListedPath) and str(self) == str(other)

    def __lt__(self, other: "ListedPath") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, below: str) -> "ListedPath":
        parts = filter(None, (self._name, below.removesuffix("/")))
        return ListedPath(self._tree, "/".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        files = {self._name: self.listed} if self.is_file() else {}
        return _restored, (self._tree.uri, files, self._name)

    @property
    def name(self) -> str:
        """The last part."""
        return self._name.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> "ListedPath":
        """The folder that it lies in."""
        return ListedPath(self._tree, self._name.rpartition("/")[0])

    @property
    def below_root(self) -> str:
        """The name below the folder that was listed."""
        return self._name

    @property
    def listed(self) -> ListedFile | MemberFile:
        """What the listing tells of the file. Raises `KeyError` if there is none."""
        return self._tree.files[self._name]

    def is_file(self) -> bool:
        """Return whether the listing has the file."""
        return self._name in self._tree.files

    def is_dir(self) -> bool:
        """Return whether the listing has a file below."""
        return self._name in self._tree.folders

    def iterdir(self) -> Iterator["ListedPath"]:
        """Yield files and folders of the folder, each once."""
        start = len(self._name) + 1 if self._name else 0
        parts = {name[start:].partition("/")[0] for name in self._tree.below(self._name)}
        yield from (self / part for part in sorted(parts) if part)

    def names_below(self) -> Iterator[str]:
        """Yield the names of all files below the folder, relative to it, sorted."""
        start = len(self._name) + 1 if self._name else 0
        return (name[start:] for name in self._tree.below(self._name))

    def files_below(self) -> Iterator["ListedPath"]:
        """Yield the files below the folder, sorted; hidden ones and junk are left out, also what is in such folders."""
        start = len(self._name) + 1 if self._name else 0
        for name in self._tree.below(self._name):
            if not any(is_left_out(part) for part in name[start:].split("/")):
                yield ListedPath(self._tree, name)

    def resolve(self) -> "ListedPath":
        """Return the path itself: a bucket has no links."""
        return self


SourcePath: TypeAlias = Path | ListedPath


def source_path(uri: str) -> SourcePath:
    """Return the path of a dataset's folder; one in a bucket is listed whole.

    Raises:
        StorageError: A scheme that is not known, or a bucket that cannot be listed.
    """
    if (path := _local_path(uri)) is not None:
        return path
    folder = uri.rstrip("/")
    return ListedPath(_Tree(folder, storage.list_tree(folder)), "")


def listed_root(uri: str, files: Mapping[str, ListedFile | MemberFile]) -> ListedPath:
    """Return the path of a folder of files that were listed by other means, such as the members of archives."""
    return ListedPath(_Tree(uri, files), "")


def is_folder(uri: str) -> bool:
    """Tell whether there is a folder, in a bucket without listing all of it. Raises `StorageError`."""
    path = _local_path(uri)
    return storage.exists(uri) if path is None else path.is_dir()


def files_below(folder: SourcePath) -> Iterator[SourcePath]:
    """Yield the files below a folder, but hidden ones and the junk of file managers.

    Linked folders are followed, not back to where they lie.
    """
    if isinstance(folder, ListedPath):
        yield from folder.files_below()
        return
    # os.walk, since Path.rglob passes by linked folders, which large datasets are often made of.
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not is_left_out(name) and not _leads_back(Path(parent, name))]
        yield from (Path(parent, name) for name in names if not is_left_out(name))


def all_names_below(folder: SourcePath) -> Iterator[str]:
    """Yield the names of all files below a folder, relative to it, hidden ones and junk included, in no order."""
    if isinstance(folder, ListedPath):
        yield from folder.names_below()
        return
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(Path(parent, name))]
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names)


def name_below(path: SourcePath, root: SourcePath) -> str:
    """Return the name of a path relative to the dataset's folder `root`, with "/" between its parts."""
    return path.below_root if isinstance(path, ListedPath) else path.relative_to(cast(Path, root)).as_posix()


def read_file(path: SourcePath) -> bytes:
    """Return the content of a file. Raises `StorageError` if it does not exist or cannot be read."""
    if isinstance(path, ListedPath) and isinstance(path.listed, MemberFile):
        with storage.open_input(path.listed.archive) as file:
            file.seek(path.listed.start)
            return file.read(path.listed.size)
    return storage.read_bytes(str(path), path.listed.size if isinstance(path, ListedPath) else None)


def read_head(path: SourcePath, size: int) -> bytes:
    """Return the first bytes of a file. Raises `StorageError` if it does not exist or cannot be read."""
    member = path.listed if isinstance(path, ListedPath) and isinstance(path.listed, MemberFile) else None
    with storage.open_input(member.archive if member else str(path)) as file:
        file.seek(member.start if member else 0)
        return file.read(min(size, member.size) if member else size)


def file_size(path: SourcePath) -> int:
    """Return the bytes of a file, of one in a bucket by its listing. Raises `StorageError`."""
    return path.listed.size if isinstance(path, ListedPath) else storage.file_size(str(path))


def fingerprint(path: SourcePath) -> str:
    """Return `storage.fingerprint` of a file, of one in a bucket by its listing. Raises `StorageError`."""
    return path.listed.version if isinstance(path, ListedPath) else storage.fingerprint(str(path))


def _local_path(uri: str) -> Path | None:
    if "://" not in uri:
        return Path(uri)
    path = storage.absolute(uri)
    return None if "://" in path else Path(path)


def _restored(uri: str, files: dict[str, ListedFile | MemberFile], name: str) -> ListedPath:
    return ListedPath(_Tree(uri, files), name)


def _leads_back(folder: Path) -> bool:
    """Tell whether a folder is a link to one of those that it lies in: followed, it would be walked for ever."""
    return folder.is_symlink() and folder.resolve() in {above.resolve() for above in folder.absolute().parents}
