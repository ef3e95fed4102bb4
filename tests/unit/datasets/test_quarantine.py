"""The quarantine keeps what could not be translated, byte for byte."""

from pathlib import Path

import pytest

from dakpn.datasets.formats.parquet import ParquetFormat
from dakpn.datasets.quarantine import (
    QuarantinedRow,
    quarantine_uri,
    quarantined_shards,
    read_quarantine,
    write_quarantine,
)
from dakpn.errors import DataError
from tests.scenes import truncate

NAME = "train-00001-of-00003"
ROWS = [
    QuarantinedRow("a/b", "a/b.png: truncated; copy it again", 1, b"\x89PNG cut", "a/b.png", b"label", "labels/b.png"),
    QuarantinedRow("../x", "an unsafe key", 7, b"", "x.png", None, None),
    QuarantinedRow("", "no image", 9, None, None, None, None),
]


def test_rows_come_back_in_order_with_all_their_bytes(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert list(read_quarantine(out, NAME)) == []
    assert quarantined_shards(out) == []
    write_quarantine(out, NAME, ROWS)
    assert list(read_quarantine(out, NAME)) == ROWS
    assert quarantined_shards(out) == [NAME]
    first = Path(quarantine_uri(out, NAME)).read_bytes()
    write_quarantine(out, NAME, ROWS)
    assert Path(quarantine_uri(out, NAME)).read_bytes() == first


def test_no_rows_leave_no_file(tmp_path: Path) -> None:
    out = str(tmp_path)
    write_quarantine(out, NAME, ROWS)
    write_quarantine(out, NAME, [])
    assert quarantined_shards(out) == []
    assert not Path(quarantine_uri(out, NAME)).exists()


def test_other_readers_of_shards_open_it(tmp_path: Path) -> None:
    write_quarantine(str(tmp_path), NAME, ROWS[:1])
    (row,) = ParquetFormat().rows(quarantine_uri(str(tmp_path), NAME))
    sample = row.load()
    assert (sample.key, sample.image, sample.label) == ("a/b", ROWS[0].image, ROWS[0].label)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_quarantine(str(tmp_path), NAME, ROWS)
    truncate(Path(quarantine_uri(str(tmp_path), NAME)))
    with pytest.raises(DataError, match=NAME):
        list(read_quarantine(str(tmp_path), NAME))
