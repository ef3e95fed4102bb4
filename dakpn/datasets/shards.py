"""Shards: the units in which datasets are stored, read and written, whatever their format."""

from collections.abc import Iterable, Iterator, Set

from dakpn.datasets.formats import FORMATS, ShardFormat, ShardRow, WrittenShard
from dakpn.datasets.schema import Sample
from dakpn.errors import UsageError


def shard_name(index: int, count: int) -> str:
    """Return the name, without extension, of shard `index` (from 0) of `count`: `train-00003-of-00008`.

    Raises:
        ValueError: The index is not below the count.
    """
    if not 0 <= index < count:
        raise ValueError(f"got shard {index} of {count}, expected 0 to {count - 1}")
    return f"train-{index:05d}-of-{count:05d}"


def read_shard(uri: str, exclude: Set[str] = frozenset()) -> Iterator[Sample]:
    """Yield the samples of a shard in their order, holding a few at a time.

    Args:
        uri: As `manifest.shard_uri` gives it; its ending tells the format.
        exclude: Keys of rows to leave out.

    Raises:
        UsageError: The URI is not one of a shard.
        StorageError: Something of the shard does not exist or cannot be read.
        DataError: It is damaged, truncated or not of its format, or holds a key or path that is unsafe or
            occurs twice.
    """
    return _format_of(uri).read(uri, exclude)


def shard_rows(uri: str) -> Iterator[ShardRow]:
    """Yield the rows of a shard in their order, unchecked, so that a bad one does not hide those behind it.

    Raises:
        UsageError: The URI is not one of a shard.
        StorageError: It does not exist or cannot be read.
        DataError: It is damaged, so that its rows cannot be told apart.
    """
    return _format_of(uri).rows(uri)


def write_shard(uri: str, samples: Iterable[Sample]) -> WrittenShard:
    """Write a shard of the samples in their order; the same samples give the same bytes.

    What the URI names is written last and whole. The samples are taken one at a time, so a generator keeps
    memory at the size of the shard or below.

    Args:
        uri: As `manifest.shard_uri` gives it; its ending tells the format.
        samples: The rows.

    Raises:
        UsageError: The URI is not one of a shard.
        StorageError: It cannot be written.
        DataError: A key or path that is unsafe or occurs twice, or a sample that the format cannot hold.
    """
    return _format_of(uri).write(uri, samples)


def _format_of(uri: str) -> ShardFormat:
    for shard_format in FORMATS.values():
        if uri.endswith(shard_format.suffix):
            return shard_format
    endings = ", ".join(shard_format.suffix for shard_format in FORMATS.values())
    raise UsageError(f"{uri} is not the URI of a shard; expected one that ends in {endings}")
