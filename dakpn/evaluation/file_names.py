"""File names for contenders, whose own names may hold anything."""

import hashlib
import re


def file_name(contender: str) -> str:
    """A name that every storage takes; different contenders get different ones."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", contender)
    return name if name == contender else f"{name}-{hashlib.sha256(contender.encode()).hexdigest()[:6]}"
