"""Rows that are left out: those that an exclusion manifest names, and those that a rule does not keep.

An exclusion manifest says which rows of a dataset are bad and why, and lies beside it; nothing is deleted or moved. It
is one JSON document, `{"dataset": URI, "bad": [{"key": ..., "reason": ...}], "good": [KEY, ...]}`.

A rule keeps a part of every sequence, such as the first 60 % of the frames of each drive. Frames of one video look
alike, so a fair split of video cuts sequences in time: `([^/_]+)_:0.0-0.6` keeps the first 60 % of each sequence,
`([^/_]+)_:0.7-1.0` the last 30 %, and the frames between are in neither.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.sequences import sequence_of
from dakpn.errors import UsageError
from dakpn.sources.kinds import FileSource, PackedSource, find_source
from dakpn.sources.preset import DatasetPreset
from dakpn.wording import counted

_FORM = re.compile(r"(?P<pattern>.+):(?P<low>[0-9.]+)-(?P<high>[0-9.]+)", re.DOTALL)


class BadRow(BaseModel):
    """A row to be left out, and why; several reasons are one text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str


class ExcludedRow(BadRow):
    """A row that was left out; `source` is its image file, relative to the dataset, or the URI of its shard."""

    source: str


class Exclusions(BaseModel):
    """The rows of one dataset, divided into good and bad ones.

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


@dataclass(frozen=True)
class KeepRule:
    """Keep the rows whose rank in their sequence is in [low, high).

    Attributes:
        pattern: searched in a key; its first group (or else all it matches) names the sequence. Keys without a match
            belong to no sequence and are left out.
        low, high: 0 <= low < high <= 1. The rank of a row is its place among the sorted keys of its sequence over
            their number, so that 1.0 as `high` keeps the last one too.
    """

    pattern: re.Pattern[str]
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PATTERN:LOW-HIGH`. Raises `UsageError`."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise UsageError(f"got the rule {text!r}; expected PATTERN:LOW-HIGH such as '([^_]+)_:0.0-0.6'")
        try:
            rule = cls(re.compile(form["pattern"]), float(form["low"]), float(form["high"]))
        except (re.error, ValueError) as error:
            raise UsageError(f"got the rule {text!r} ({error}); expected PATTERN:LOW-HIGH") from error
        if not 0 <= rule.low < rule.high <= 1:
            raise UsageError(f"got the range {form['low']}-{form['high']} in {text!r}; expected 0 <= LOW < HIGH <= 1")
        return rule

    def sequence(self, key: str) -> str | None:
        """The sequence that a key belongs to; None for no sequence."""
        return sequence_of(self.pattern, key)

    def exclusions(self, keys: Iterable[str], dataset: str) -> Exclusions:
        """Tell apart the rows that the rule keeps and those that it leaves out.

        Raises:
            UsageError: it keeps none.
        """
        frames: dict[str, list[str]] = defaultdict(list)
        bad, good = [], []
        for key in sorted(keys):
            sequence = self.sequence(key)
            if sequence is None:
                bad.append(BadRow(key=key, reason=f"does not match {self.pattern.pattern}"))
            else:
                frames[sequence].append(key)
        for sequence, names in frames.items():
            for rank, key in enumerate(names):
                if self.low <= rank / len(names) < self.high:
                    good.append(key)
                else:
                    bad.append(BadRow(key=key, reason=f"outside {self.low}-{self.high} of {sequence}"))
        if not good:
            raise UsageError(
                f"the rule {self.pattern.pattern}:{self.low}-{self.high} keeps none of "
                f"{counted(len(bad), 'row')} of {dataset}" + (f", such as {bad[0].key}" if bad else "")
            )
        return Exclusions(dataset=dataset, bad=tuple(bad), good=tuple(good))


def source_keys(uri: str, preset: DatasetPreset | None, split: str | None) -> list[str]:
    """Keys of the rows of a folder in the preset's layout, or of a packed dataset.

    Raises:
        UsageError: neither of them is there, or several splits and none was named.
    """
    found = find_source(uri, preset, split)
    if isinstance(found, PackedSource):
        shards = manifest.read_index(uri).shards
        return [row.key for shard in shards for row in manifest.read_rows(uri, shard.name)]
    if isinstance(found, FileSource):
        raise UsageError(f"{uri} holds files of other tools, whose rows cannot be chosen; pack them first, then that")
    return [pair.key for pair in found.preset.find_pairs(found.root, found.split, False)]
