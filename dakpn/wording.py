"""Words for people: numbers with what they count, and durations."""

import math


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and what it counts: "1 shard", "0 shards", "3 shards".

    Args:
        number: How many there are.
        noun: Name of one of them; an adjective may come first.
        plural: Name of several, where it is not the noun and an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "0.8 s", "3 min 20 s", "2 h 5 min"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
