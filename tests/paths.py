"""Where tests find what the project does not carry with it."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def _shared_data() -> Path | None:
    folder = Path(os.environ.get("DAKPN_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    return folder if folder.is_dir() else None


SHARED_DATA: Path | None = _shared_data()
"""Folder of real datasets, or DAKPN_TEST_DATA; None where there is none, and tests that need it skip."""
