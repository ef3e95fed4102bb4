"""Verification of stored params names every row that is not of the bytes in the input."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dakpn.config import TranslateConfig
from dakpn.datasets import manifest
from dakpn.datasets.shards import read_shard
from dakpn.models.weights_files import weights_digest
from dakpn.translation.params_dataset import read_params_record, write_params_record
from dakpn.translation.stored_params import ParamsRow, read_params_shard, write_params_shard
from dakpn.verification.params_verification import compare_params, params_claims
from dakpn.verification.report import ShardFindings
from dakpn.verification.retranslation import Recomputation
from dakpn.verification.verification import ShardPair
from tests.scenes import Scenes, copy_dataset, truncate, write_shard
from tests.unit.translation.stored import guessing_weights, store_params

__all__ = ["guessing_weights"]
SHARD = "train-00001-of-00003"


@pytest.fixture(scope="module")
def params(scenes: Scenes, guessing_weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_params(guessing_weights, scenes.synthetic, tmp_path_factory.mktemp("params") / "out")


@pytest.fixture
def copied(params: Path, tmp_path: Path) -> Path:
    return copy_dataset(str(params), tmp_path / "out")


def compare(source: str | Path, output: Path, weights: str | None = None, quarantined=()) -> ShardFindings:
    uris = (manifest.shard_uri(str(uri), SHARD) for uri in (source, output))
    check = None
    if weights is not None:
        values = {"weights": weights, "input": str(source), "output": str(output), "content": "params"}
        check = Recomputation.load(TranslateConfig.model_validate(values), None, 0, 0)
    return compare_params(ShardPair(SHARD, *uris, 4, 4), quarantined, check)


def kinds(findings: ShardFindings) -> set[str]:
    return {difference.kind for difference in findings.differences}


def test_untouched_params_hold_also_when_computed_again(scenes: Scenes, params: Path, guessing_weights: str) -> None:
    findings = compare(scenes.synthetic, params, guessing_weights)
    assert (findings.differences, findings.rows, findings.retranslated) == ((), 4, 4)
    marker = manifest.read_marker(str(params), SHARD)
    assert marker is not None
    assert findings.certificate is not None
    assert findings.certificate.model_dump(mode="json") == marker.certificate


def _one_dropped(rows: list[ParamsRow]) -> list[ParamsRow]:
    return [rows[0], *rows[2:]]


def _reversed(rows: list[ParamsRow]) -> list[ParamsRow]:
    return rows[::-1]


def _twice(rows: list[ParamsRow]) -> list[ParamsRow]:
    return [*rows, rows[0]]


def _of_another_image(rows: list[ParamsRow]) -> list[ParamsRow]:
    return [replace(rows[0], source_sha256=rows[1].source_sha256), *rows[1:]]


def _of_another_label(rows: list[ParamsRow]) -> list[ParamsRow]:
    return [replace(rows[0], label_sha256=rows[1].label_sha256), *rows[1:]]


def _of_another_size(rows: list[ParamsRow]) -> list[ParamsRow]:
    return [replace(rows[0], height=47), *rows[1:]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_one_dropped, {"missing_row"}),
        (_reversed, {"row_order"}),
        (_twice, {"duplicate_row"}),
        (_of_another_image, {"source"}),
        (_of_another_label, {"source"}),
        (_of_another_size, {"source"}),
    ],
)
def test_every_way_to_differ_has_a_name(
    scenes: Scenes, copied: Path, change: Callable[[list[ParamsRow]], list[ParamsRow]], expected: set[str]
) -> None:
    uri = manifest.shard_uri(str(copied), SHARD)
    write_params_shard(uri, change(list(read_params_shard(uri))))
    assert kinds(compare(scenes.synthetic, copied)) == expected


def test_a_truncated_shard_is_named(scenes: Scenes, copied: Path) -> None:
    truncate(copied / f"{SHARD}.parquet")
    assert kinds(compare(scenes.synthetic, copied)) == {"unreadable_shard"}


def test_an_input_that_changed_is_named(scenes: Scenes, params: Path, tmp_path: Path) -> None:
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    shard = source / f"{SHARD}.parquet"
    first, second, *rest = read_shard(str(shard))
    write_shard(shard, [first, replace(second, image=first.image), *rest])
    (difference,) = compare(source, params).differences
    assert (difference.kind, difference.key) == ("source", second.key)


def test_logits_and_moments_that_were_changed_are_found_when_computed_again(
    scenes: Scenes, copied: Path, guessing_weights: str
) -> None:
    uri = manifest.shard_uri(str(copied), SHARD)
    first, second, *rest = read_params_shard(uri)
    assert first.logits is not None
    assert second.moments is not None
    values = np.frombuffer(first.logits.data, "<f2").copy()
    values[7] += 1
    forged = replace(first, logits=replace(first.logits, data=values.tobytes()))
    write_params_shard(uri, [forged, replace(second, moments=(0.5, *second.moments[1:])), *rest])
    assert kinds(compare(scenes.synthetic, copied)) == set()
    found = compare(scenes.synthetic, copied, guessing_weights).differences
    assert [(d.kind, d.key) for d in found] == [("params", first.key), ("params", second.key)]
    assert "the logits differ by up to" in found[0].message
    assert "the color moments differ" in found[1].message


def test_a_copy_of_other_weights_and_another_input_are_named(scenes: Scenes, copied: Path) -> None:
    source = manifest.read_index(scenes.synthetic)
    record = read_params_record(str(copied))
    assert list(params_claims(str(copied), source, record.weights)) == []
    config = copied / "weights/config.json"
    config.write_text(config.read_text() + "\n")
    (difference,) = params_claims(str(copied), source, record.weights)
    assert f"copy of the weights of the params is {weights_digest(str(copied / 'weights'))}" in difference.message
    write_params_record(str(copied), record.model_copy(update={"input_digest": "sha256:0"}))
    assert len(list(params_claims(str(copied), source, record.weights))) == 2
    (copied / "weights/model.safetensors").unlink()
    (difference,) = params_claims(str(copied), source, record.weights)
    assert "cannot be used" in difference.message
