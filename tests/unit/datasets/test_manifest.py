from pathlib import Path

import pytest

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.manifest import DatasetIndex, RowRecord, ShardEntry, ShardMarker
from dakpn.errors import DataError, UsageError

NAME = "train-00000-of-00001"
INDEX = DatasetIndex(label_space=None, labelled=False, shards=[ShardEntry(name=NAME, rows=2, sha256="ab", bytes=9)])
MARKER = ShardMarker(name=NAME, fingerprint="f", rows=2, quarantined=0, sha256="ab", bytes=9)
ROW = RowRecord(
    key="a", source="images/a.png", source_sha256="1", image_sha256="1", label_sha256=None,
    height=3, width=4, status="quarantined", reason="too dark",
)  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    out = str(tmp_path)
    manifest.write_index(out, INDEX)
    manifest.write_marker(out, MARKER)
    manifest.write_rows(out, NAME, [ROW, ROW])
    manifest.mark_success(out)
    assert manifest.is_complete(out)
    assert manifest.read_index(out) == INDEX
    assert manifest.read_index(out).rows == 2
    assert manifest.read_marker(out, NAME) == MARKER
    assert manifest.read_rows(out, NAME) == [ROW, ROW]


def test_a_folder_without_a_dataset_says_to_pack(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a packed dataset .*run `dakpn pack` first"):
        manifest.read_index(str(tmp_path / "nowhere"))


def test_an_unfinished_dataset_says_to_finish(tmp_path: Path) -> None:
    manifest.write_marker(str(tmp_path), MARKER)
    with pytest.raises(UsageError, match=r"is not finished \(no _SUCCESS\); run the command"):
        manifest.read_index(str(tmp_path))
    manifest.write_index(str(tmp_path), INDEX)
    with pytest.raises(UsageError, match=r"is not finished \(no _SUCCESS\); run the command"):
        manifest.read_index(str(tmp_path))


def test_a_missing_or_damaged_marker_is_none(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert manifest.read_marker(out, NAME) is None
    uri = storage.join(out, "_dakpn", "shards", f"{NAME}.json")
    for damaged in (b"", b'{"name": "x"', b'{"name": "x"}', b"[]", b"\xff"):
        storage.write_bytes(uri, damaged)
        assert manifest.read_marker(out, NAME) is None


def test_a_damaged_index_and_damaged_rows_are_data_errors(tmp_path: Path) -> None:
    out = str(tmp_path)
    manifest.mark_success(out)
    storage.write_json(storage.join(out, "_dakpn", "dataset.json"), {"labelled": True})
    with pytest.raises(DataError, match=r"dataset\.json is damaged: label_space: Field required"):
        manifest.read_index(out)
    storage.write_bytes(storage.join(out, "_dakpn", "manifest", f"{NAME}.parquet"), b"PAR1")
    with pytest.raises(DataError, match="expected a row manifest"):
        manifest.read_rows(out, NAME)


def test_a_newer_format_asks_for_a_newer_version(tmp_path: Path) -> None:
    manifest.write_index(str(tmp_path), INDEX.model_copy(update={"format_version": 99}))
    manifest.mark_success(str(tmp_path))
    with pytest.raises(UsageError, match="has format version 99, expected at most 1; install a newer dakpn"):
        manifest.read_index(str(tmp_path))
