"""Sequences of a video: which one a frame belongs to, told from its key by a regular expression."""

import re
from collections import defaultdict
from collections.abc import Sequence

from dakpn.errors import UsageError


def sequence_of(pattern: re.Pattern[str], key: str) -> str | None:
    """What the pattern's first group, or else the whole of it, finds in a key; None if it does not match."""
    match = pattern.search(key)
    return None if match is None else match[1 if pattern.groups else 0]


def positions_by_sequence(keys: Sequence[str], pattern: str, setting: str, dataset: str) -> dict[str, list[int]]:
    """Positions of the keys of each sequence.

    Args:
        keys: all of them must belong to a sequence.
        pattern: finds a key's sequence, see `sequence_of`.
        setting: where the pattern comes from, for the error.
        dataset: whose keys they are, for the error.

    Raises:
        UsageError: a key belongs to none.
    """
    compiled, found = re.compile(pattern), defaultdict(list)
    for position, key in enumerate(keys):
        name = sequence_of(compiled, key)
        if name is None:
            raise UsageError(
                f"{setting} {pattern!r} does not match the key {key!r} of {dataset}; expected a pattern that finds "
                "every key's sequence"
            )
        found[name].append(position)
    return dict(found)
