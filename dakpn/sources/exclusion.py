"""Exclusion manifests: which rows of a dataset are bad and why, kept beside it. Nothing is deleted or moved.

A file is one JSON document, `{"dataset": URI, "bad": [{"key": ..., "reason": ...}], "good": [KEY, ...]}`.
"""

import json
from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn import storage
from dakpn.errors import UsageError


class BadRow(BaseModel):
    """A row to be left out, and why; several reasons are one text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str


class ExcludedRow(BadRow):
    """A row that was left out; `source` is its image file, relative to the dataset, or the URI of its shard."""

    source: str


class Exclusions(BaseModel):
    """The rows of one dataset, told apart.

    Attributes:
        dataset: Absolute URI of what was checked.
        bad: The rows to leave out, once each.
        good: Keys of all other rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = ""
    bad: tuple[BadRow, ...] = ()
    good: tuple[str, ...] = ()

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Key of each bad row -> why it is bad."""
        return {row.key: row.reason for row in self.bad}

    def joined(self, other: Self) -> Self:
        """The rows that either leaves out, with the reasons given here first; and those that both keep."""
        reasons = other.reasons | self.reasons
        bad = tuple(BadRow(key=key, reason=reason) for key, reason in reasons.items())
        return type(self)(dataset=self.dataset, bad=bad, good=tuple(key for key in other.good if key not in reasons))

    def write(self, uri: str) -> None:
        """Write the file. Raises `StorageError`."""
        text = json.dumps(self.model_dump(), indent=1)  # ASCII: a name may hold what UTF-8 cannot
        storage.write_bytes(uri, (text + "\n").encode())

    @classmethod
    def read(cls, uri: str) -> Self:
        """Return what `write` wrote.

        Raises:
            UsageError: The file is of another kind.
            StorageError: It does not exist or cannot be read.
        """
        try:
            return cls.model_validate(json.loads(storage.read_bytes(uri)))
        except (ValidationError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{uri} is not an exclusion manifest; expected the JSON file that `dakpn check --fix quarantine` writes"
            ) from error
