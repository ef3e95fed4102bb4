"""Words for people: numbers with what they count."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and what it counts: "1 shard", "0 shards", "3 shards".

    Args:
        number: How many there are.
        noun: Name of one of them; an adjective may come first.
        plural: Name of several, where it is not the noun and an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
