"""Certificates: equal data gives equal digests, any other data gives others, and damaged files are refused."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dakpn import storage
from dakpn.datasets.certificate import (
    Certificate,
    DatasetTotals,
    ParamBounds,
    ShardCertificate,
    certificate_uri,
    code_digest,
    read_certificate,
    settings_digest,
    write_certificate,
)
from dakpn.datasets.manifest import RowRecord
from dakpn.errors import DataError


class Row(NamedTuple):
    key: str
    label_sha256: str | None = "aa"
    height: int = 4
    width: int = 6


ROWS = [Row("a"), Row("b"), Row("c", None)]


def certificate(**changes: Any) -> Certificate:
    made = Certificate.of(
        [ShardCertificate.of("train-0", ROWS), ShardCertificate.of("train-1", [Row("d")], quarantined=2)],
        radius=12,
        params=ParamBounds(names=("gain",), low=(0.5,), high=(1.5,)),
        weights="sha256:1",
        settings={"strength": 1.0, "draw": 0},
        input_digest="sha256:2",
    )
    return made.model_copy(update=changes)


@pytest.mark.parametrize(
    ("rows", "labels_differ", "sizes_differ"),
    [
        ([ROWS[0], ROWS[1], Row("c", "aa")], True, False),
        ([ROWS[0], Row("b", "ab"), ROWS[2]], True, False),
        ([ROWS[0], Row("b", height=6, width=4), ROWS[2]], False, True),
        ([ROWS[1], ROWS[0], ROWS[2]], True, True),
        (ROWS[:2], True, True),
        ([*ROWS, ROWS[2]], True, True),
        ([Row("ab"), Row(""), ROWS[2]], True, True),
    ],
)
def test_digests_tell_which_of_labels_and_sizes_differ(
    rows: list[Row], labels_differ: bool, sizes_differ: bool
) -> None:
    before, after = ShardCertificate.of("s", ROWS), ShardCertificate.of("s", rows)
    assert (before.labels_sha256 != after.labels_sha256) is labels_differ
    assert (before.sizes_sha256 != after.sizes_sha256) is sizes_differ
    assert after.rows == len(rows)


def test_a_job_has_the_facts_of_a_row_in_its_records() -> None:
    records = [
        RowRecord(
            key=row.key,
            source="x",
            source_sha256="x",
            image_sha256="x",
            label_sha256=row.label_sha256,
            height=row.height,
            width=row.width,
            status="done",
            reason=None,
        )
        for row in ROWS
    ]
    assert ShardCertificate.of("s", records) == ShardCertificate.of("s", ROWS)


def test_a_dataset_counts_its_shards_and_their_order() -> None:
    made = certificate()
    assert (made.rows, made.quarantined) == (4, 2)
    turned = DatasetTotals.of(made.shards[::-1])
    assert (turned.rows, turned.quarantined) == (4, 2)
    assert turned.labels_sha256 != made.labels_sha256
    assert turned.sizes_sha256 != made.sizes_sha256


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_certificate(str(tmp_path)) is None
    write_certificate(str(tmp_path), certificate())
    assert read_certificate(str(tmp_path)) == certificate()
    assert certificate().code == code_digest()
    assert certificate().config == settings_digest({"draw": 0, "strength": 1.0})
    assert certificate().config != settings_digest({"draw": 1, "strength": 1.0})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": "many"}, "rows"),
        ({"extra": 1}, "extra"),
        ({"format_version": 2}, "version 2, expected 1"),
    ],
)
def test_a_damaged_or_newer_file_is_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    uri = certificate_uri(str(tmp_path))
    storage.write_json(uri, certificate().model_dump(mode="json") | change)
    with pytest.raises(DataError, match=words) as caught:
        read_certificate(str(tmp_path))
    assert uri in str(caught.value)
