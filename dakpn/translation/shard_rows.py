"""The rows of an input shard, each loaded and judged on its own: a bad one does not stop those behind it."""

from collections.abc import Iterator
from dataclasses import dataclass

from dakpn.datasets.formats import ShardRow
from dakpn.datasets.formats.base import require_safe_names
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import shard_rows
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import DakpnError, DataError

_THREADS = 4  # a plain folder's rows are files of their own, which storage is slow to answer for


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row as it was read.

    Attributes:
        position: In the shard, from 0.
        key: As stored, whatever it is.
        sample: None if the row cannot be read.
        error: What is wrong with the row; None if nothing is.
    """

    position: int
    key: str
    sample: Sample | None
    error: str | None

    @property
    def bytes(self) -> int:
        """Of the encoded image and label."""
        return 0 if self.sample is None else len(self.sample.image) + len(self.sample.label or b"")


def input_rows(uri: str, errors: tuple[type[DakpnError], ...] = (DataError,)) -> Iterator[InputRow]:
    """Yield the rows of a shard in their order, holding a few at a time.

    A row that lacks something, or whose name is unsafe or was there before, carries the reason.

    Args:
        uri: Of the shard.
        errors: What may be wrong with a row alone; what else a row's file raises is raised here.

    Raises:
        StorageError: Something of the shard does not exist or cannot be read.
        DataError: It is damaged or truncated, so that its rows cannot be told apart.
    """
    seen: set[str] = set()
    for position, row in enumerate(map_in_threads(lambda row: _load(row, uri, errors), shard_rows(uri), _THREADS)):
        key, sample, error = row
        if error is None and key in seen:
            error = f"{uri} holds the key {key!r} twice; expected once: pack it again"
        seen.add(key)
        yield InputRow(position, key, sample, error)


def _load(row: ShardRow, uri: str, errors: tuple[type[DakpnError], ...]) -> tuple[str, Sample | None, str | None]:
    try:
        sample = row.load()
    except errors as error:
        return row.key, None, str(error)
    try:
        require_safe_names(sample, uri)
    except DataError as error:
        return sample.key, sample, str(error)
    return sample.key, sample, None
