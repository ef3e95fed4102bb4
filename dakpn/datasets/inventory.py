"""What became of everything that a source holds: taken, changed on the way, or left out for a reason.

Nothing of a source is passed over in silence: each file of a folder, member of an archive, column and row of a table is
in one of the three lists, and what looks like data and is left out is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

NAMED = 3
"""So many names of each kind are kept."""

_JUNK = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot", "lost+found"),
        *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    )
)
"""What file managers and storage boxes leave: previews and deleted files, often under the names of true images."""


@dataclass
class Count:
    """How many things are of one kind, and the names of the first; `data` if they look like images or labels."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    data: bool = False

    def add(self, name: str, count: int = 1) -> None:
        """Count something more."""
        self.count += count
        if len(self.first) < NAMED:
            self.first.append(name)


@dataclass
class Inventory:
    """Counts of what a source holds.

    Attributes:
        taken: What the rows are made of: "images", "labels", ...
        changed: What was done to images and labels that are not stored as they were -> how many, and which.
        left_out: Reason -> how many, and which.
    """

    taken: dict[str, int] = field(default_factory=dict)
    changed: dict[str, Count] = field(default_factory=dict)
    left_out: dict[str, Count] = field(default_factory=dict)

    def take(self, kind: str, count: int = 1) -> None:
        """Count what is taken."""
        if count:
            self.taken[kind] = self.taken.get(kind, 0) + count

    def change(self, what: str, name: str) -> None:
        """Count an image or label that is not stored as it was."""
        self.changed.setdefault(what, Count()).add(name)

    def leave(self, reason: str, name: str, data: bool = False) -> None:
        """Count what is left out; `data` if it looks like an image, a label or a file that holds some."""
        found = self.left_out.setdefault(reason, Count(data=data))
        found.data |= data
        found.add(name)

    def add(self, other: Self) -> None:
        """Count all that another inventory has."""
        for kind, count in other.taken.items():
            self.take(kind, count)
        for mine, theirs in ((self.changed, other.changed), (self.left_out, other.left_out)):
            for reason, found in theirs.items():
                kept = mine.setdefault(reason, Count())
                kept.count += found.count
                kept.data |= found.data
                kept.first = (kept.first + found.first)[:NAMED]

    def lines(self) -> list[tuple[str, str, int, str]]:
        """Return a table for people: what happened, to what, how many, and the first names, one a line."""
        rows = [("taken", kind, count, "") for kind, count in self.taken.items()]
        rows += [("changed", what, found.count, _names(found)) for what, found in sorted(self.changed.items())]
        data_first = sorted(self.left_out.items(), key=lambda item: (not item[1].data, item[0]))
        return rows + [
            ("left out", reason, found.count, _names(found) if found.data else "") for reason, found in data_first
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold, with all reasons in their order."""

        def listed(counts: Mapping[str, Count], word: str) -> list[dict[str, Any]]:
            return [{word: name, **vars(found), "first": found.first} for name, found in sorted(counts.items())]

        return {
            "taken": dict(self.taken),
            "changed": listed(self.changed, "what"),
            "left_out": listed(self.left_out, "reason"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` described."""

        def counts(entries: list[dict[str, Any]], word: str) -> dict[str, Count]:
            return {
                entry[word]: Count(entry["count"], list(entry["first"]), bool(entry.get("data"))) for entry in entries
            }

        return cls(
            dict(values.get("taken", {})),
            counts(values.get("changed", []), "what"),
            counts(values.get("left_out", []), "reason"),
        )


def _names(found: Count) -> str:
    return "\n".join([*found.first, *(["..."] if found.count > len(found.first) else [])])


def is_left_out(part: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or junk of a file manager."""
    return is_hidden(part) or is_junk(part)


def is_hidden(part: str) -> bool:
    """Tell whether a file or folder of this name is hidden."""
    return part.startswith(".") and part not in (".", "..")  # those two are refused by name, not passed over


def is_junk(part: str) -> bool:
    """Tell whether a file or folder of this name was left by a file manager, or marks a document that is open."""
    return part.lower() in _JUNK or part.startswith("~$")


def junk_reason(name: str) -> str:
    """Return under which reason a file is left out for its name or that of a folder it lies in; empty for others."""
    parts = name.split("/")
    if any(map(is_hidden, parts)):
        return "hidden files"
    return "left by file managers" if any(map(is_junk, parts)) else ""
