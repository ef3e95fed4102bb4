"""What a format of shards has to do, and the checks that all of them share."""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Set
from typing import BinaryIO, ClassVar, NamedTuple, Protocol

from typing_extensions import Buffer  # in `collections.abc` from Python 3.12 on

from dakpn import storage
from dakpn.datasets.schema import Sample, validate_key, validate_path
from dakpn.errors import DataError
from dakpn.wording import counted


class WrittenShard(NamedTuple):
    """Digest of what a shard holds, and its size in bytes."""

    sha256: str
    bytes: int


class ShardRow(NamedTuple):
    """A row by its key, empty if it has none; `load` raises what is wrong with it."""

    key: str
    load: Callable[[], Sample]


class RowBlock(NamedTuple):
    """Rows of a shard that are read together; `start` is the position of the first, from 0."""

    start: int
    rows: list[Sample]

    @property
    def bytes(self) -> int:
        """Size of the encoded images and labels."""
        return sum(len(row.image) + len(row.label or b"") for row in self.rows)


class RowAccess(Protocol):
    """Single rows of a shard by their position; holds where they are, not what they are."""

    def read(self, position: int) -> RowBlock:
        """Return the row at a position, and those that cannot be left out in reading it.

        Raises:
            StorageError: Something of the shard does not exist or cannot be read.
            DataError: It is damaged, or has no such row.
        """
        ...


class ShardFormat(ABC):
    """Reads and writes shards. A shard goes by one URI, whose ending tells the format.

    Attributes:
        suffix: Ending of that URI.
        folder: Where it lies below the dataset's folder; empty directly there.
        data_files: Pattern that names the data to `datasets.load_dataset`; None if that needs none.
    """

    suffix: ClassVar[str]
    folder: ClassVar[str] = ""
    data_files: ClassVar[str | None] = None

    def uri(self, dataset_uri: str, name: str) -> str:
        """Return the URI of a shard."""
        return storage.join(dataset_uri, *filter(None, [self.folder]), name + self.suffix)

    def names(self, dataset_uri: str) -> list[str]:
        """Return the names of the shards that are there, sorted. Raises `StorageError`."""
        uris = storage.list_files(storage.join(dataset_uri, self.folder) if self.folder else dataset_uri, self.suffix)
        return [uri.rpartition("/")[2].removesuffix(self.suffix) for uri in uris]

    @abstractmethod
    def rows(self, uri: str) -> Iterator[ShardRow]:
        """Yield the rows of a shard in their order, unchecked: a bad row fails alone, when it is loaded.

        Raises:
            StorageError: The shard does not exist or cannot be read.
            DataError: It is damaged, truncated or not of this format, so that its rows cannot be told apart.
        """

    def read(self, uri: str, exclude: Set[str] = frozenset()) -> Iterator[Sample]:
        """Yield the samples of a shard in their order, those with an excluded key left out, holding a few at a time.

        Raises:
            StorageError: Something of the shard does not exist or cannot be read.
            DataError: It is damaged, truncated or not of this format, or holds a key or path that is unsafe
                or occurs twice.
        """
        yield from checked((row.load() for row in self.rows(uri) if row.key not in exclude), uri)

    @abstractmethod
    def access(self, uri: str) -> RowAccess:
        """Return access to single rows of a shard; reads what tells where they are.

        Raises:
            StorageError: The shard does not exist or cannot be read.
            DataError: It is damaged, truncated or not of this format.
        """

    @abstractmethod
    def write(self, uri: str, samples: Iterable[Sample]) -> WrittenShard:
        """Write a shard of the samples in their order; the same samples give the same bytes.

        What the URI names is written last and whole, so where it exists, the shard is complete. The samples
        are taken one at a time, so a generator keeps memory at the size of the shard or below.

        Raises:
            StorageError: It cannot be written.
            DataError: A key or path that is unsafe or occurs twice, or a sample that the format cannot hold.
        """


class HashedFile(io.RawIOBase):
    """Writes to an open file and digests what passes; to be read nowhere."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._digest = hashlib.sha256()
        self._bytes = 0

    def writable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def write(self, data: Buffer, /) -> int:
        """See `io.RawIOBase`; all of it is written."""
        self._digest.update(data)
        self._file.write(data)
        size = memoryview(data).nbytes
        self._bytes += size
        return size

    def written(self) -> WrittenShard:
        """Return digest and size of what was written so far."""
        return WrittenShard(self._digest.hexdigest(), self._bytes)


def write_object(uri: str, write: Callable[[HashedFile], None]) -> WrittenShard:
    """Write a shard that is one file, by a function that writes to an open one. Raises `StorageError`."""
    with storage.open_output(uri) as file:
        hashed = HashedFile(file)
        write(hashed)
    return hashed.written()


def require_safe_names(sample: Sample, origin: str) -> None:
    """Refuse a key or path that could lead out of a folder. Raises `DataError`."""
    try:
        validate_key(sample.key)
        for path in (sample.image_path, sample.label_path):
            if path is not None:
                validate_path(path)
    except DataError as error:
        raise DataError(f"{origin}: {error}") from error


def checked(samples: Iterable[Sample], origin: str) -> Iterator[Sample]:
    """Pass samples on whose names are safe and whose keys are new.

    Raises:
        DataError: The first sample of which that is not true.
    """
    seen: set[str] = set()
    for sample in samples:
        require_safe_names(sample, origin)
        if sample.key in seen:
            raise DataError(f"{origin} holds the key {sample.key!r} twice; expected once: pack it again")
        seen.add(sample.key)
        yield sample


def row_missing(uri: str, position: int, rows: int) -> DataError:
    """Return the error of a shard that has fewer rows than its dataset's index says."""
    return DataError(
        f"{uri} has {counted(rows, 'row')}, expected one at position {position} as the index says; copy it again"
    )
