"""Verification names every lie: in the certificate, in the run record, in the pixels, in the quarantine."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dakpn.config import TranslateConfig, VerifyConfig
from dakpn.datasets import manifest
from dakpn.datasets.certificate import (
    Certificate,
    ShardCertificate,
    certificate_uri,
    settings_digest,
    write_certificate,
)
from dakpn.datasets.quarantine import QuarantinedRow, write_quarantine
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import UsageError, WeightsError
from dakpn.images import codec
from dakpn.models.weights import load_predictor, save_predictor
from dakpn.verification.report import VerificationReport
from tests.command import dakpn
from tests.scenes import Scenes, copy_dataset, write_shard
from workflows import translate, verify

SHARD = "train-00001-of-00003"


@pytest.fixture(scope="module")
def translated(scenes: Scenes, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translated dataset with its certificate, of settings that are not the defaults."""
    output = tmp_path_factory.mktemp("translated") / "out"
    config = TranslateConfig(weights=weights, input=scenes.synthetic, output=str(output), strength=0.5, workers=0)
    translate.main(config)
    return output


@pytest.fixture
def copied(translated: Path, tmp_path: Path) -> Path:
    """A translated dataset to be lied about."""
    return copy_dataset(str(translated), tmp_path / "out")


@pytest.fixture
def other_weights(weights: str, tmp_path: Path) -> str:
    predictor, space, _ = load_predictor(weights)
    with torch.no_grad():
        predictor.head.bias.add_(0.3)  # pyright: ignore[reportOptionalMemberAccess]
    save_predictor(str(tmp_path / "other"), predictor, space, "others")
    return str(tmp_path / "other")


def compare(scenes: Scenes, output: Path, **more: Any) -> VerificationReport:
    return verify.compare(VerifyConfig(input=scenes.synthetic, output=str(output), workers=1, **more))


def rewrite(dataset: Path, change: Callable[[list[Sample]], list[Sample]]) -> None:
    path = dataset / f"{SHARD}.parquet"
    write_shard(path, change(list(read_shard(str(path)))))


def told(report: VerificationReport) -> list[str]:
    return [f"{found.kind}: {found.message}" for found in report.differences]


def test_a_true_certificate_holds_also_with_every_image_translated_again(
    scenes: Scenes, translated: Path, weights: str
) -> None:
    plain = compare(scenes, translated)
    assert (told(plain), plain.certified, plain.retranslated) == ([], True, 0)
    assert plain.images_per_second > 0
    again = compare(scenes, translated, weights=weights)
    assert (told(again), again.notes, again.retranslated) == ([], [], 12)
    sampled = compare(scenes, translated, weights=weights, sample=2)
    assert (told(sampled), sampled.retranslated) == ([], 6)
    assert sampled.settings["seed"] is not None


@pytest.mark.parametrize(
    ("place", "lie"),
    [
        ("rows", 13),
        ("quarantined", 1),
        ("labels_sha256", "0" * 64),
        ("sizes_sha256", "0" * 64),
        ("config", settings_digest({"strength": 1.0})),
        ("settings.strength", 1.0),
        ("input", "sha256:0"),
        ("weights", "sha256:0"),
        ("shards.1.rows", 5),
        ("shards.1.quarantined", 1),
        ("shards.1.labels_sha256", "0" * 64),
        ("shards.1.sizes_sha256", "0" * 64),
        ("shards.1.name", "train-00007-of-00009"),
        ("shards", []),
    ],
)
def test_every_lie_of_a_certificate_is_named(scenes: Scenes, copied: Path, place: str, lie: Any) -> None:
    change_json(Path(certificate_uri(str(copied))), place, lie)
    report = compare(scenes, copied)
    assert all(found.kind == "certificate" for found in report.differences)
    name = place.removeprefix("shards.1.") if place != "shards.1.name" else "shards is ["
    assert any(name in found.message and str(copied) in found.message for found in report.differences), told(report)


@pytest.mark.parametrize(("place", "lie"), [("radius", 3), ("params.high.0", 9.0), ("params.names.0", "x")])
def test_lies_about_the_function_are_named_with_the_weights_at_hand(
    scenes: Scenes, copied: Path, weights: str, place: str, lie: Any
) -> None:
    change_json(Path(certificate_uri(str(copied))), place, lie)
    (found,) = compare(scenes, copied, weights=weights, sample=1).differences
    assert (found.kind, place.partition(".")[0] in found.message) == ("certificate", True)


def change_json(path: Path, place: str, value: Any) -> None:
    """Change one value by its dotted place."""
    values = target = json.loads(path.read_text())
    *folders, name = [int(part) if part.isdigit() else part for part in place.split(".")]
    for folder in folders:
        target = target[folder]
    target[name] = value
    path.write_text(json.dumps(values))


def test_labels_changed_in_both_datasets_alike_refute_the_certificate(
    scenes: Scenes, copied: Path, tmp_path: Path
) -> None:
    """The two agree, so nothing but the digests tells."""
    source = copy_dataset(scenes.synthetic, tmp_path / "in")

    def other_label(rows: list[Sample]) -> list[Sample]:
        label = codec.decode_label(rows[2].label or b"", "label")
        label[0, 0] += 1
        return [*rows[:2], replace(rows[2], label=codec.encode_label(label)), *rows[3:]]

    rewrite(source, other_label)
    rewrite(copied, other_label)
    (found,) = verify.compare(VerifyConfig(input=str(source), output=str(copied), workers=1)).differences
    assert (found.kind, found.shard) == ("certificate", SHARD)
    assert f"{SHARD}.labels_sha256" in found.message


@pytest.mark.parametrize("name", ["certificate.json", "run.json"])
def test_a_damaged_record_is_named(scenes: Scenes, copied: Path, name: str) -> None:
    path = copied / "_dakpn" / name
    path.write_text(path.read_text()[:40])
    (found,) = compare(scenes, copied).differences
    assert str(path) in found.message


def test_a_dataset_without_certificate_says_so(scenes: Scenes, copied: Path) -> None:
    Path(certificate_uri(str(copied))).unlink()
    report = compare(scenes, copied)
    assert (told(report), report.certified) == ([], False)
    assert report.notes == ["there is no certificate to compare with"]


def test_replaced_weights_are_found_by_digest_and_by_every_pixel(
    scenes: Scenes, translated: Path, other_weights: str
) -> None:
    report = compare(scenes, translated, weights=other_weights)
    assert report.difference_counts == {"certificate": 1, "pixels": 12, "run_record": 1}
    assert any("weights is sha256" in sentence for sentence in told(report))


def test_a_lie_about_the_settings_is_found_by_the_pixels(scenes: Scenes, copied: Path, weights: str) -> None:
    """Both records tell the same lie."""
    run = copied / "_dakpn/run.json"
    run.write_text(run.read_text().replace("strength: 0.5", "strength: 0.6"))
    settings = {"strength": 0.6, "draw": 0, "jpeg_quality": 95}
    change_json(Path(certificate_uri(str(copied))), "settings", settings)
    change_json(Path(certificate_uri(str(copied))), "config", settings_digest(settings))
    assert compare(scenes, copied).ok
    assert compare(scenes, copied, weights=weights).difference_counts == {"pixels": 12}


def test_a_tampered_pixel_is_found_by_translating_again_within_the_tolerance_asked_for(
    scenes: Scenes, copied: Path, weights: str
) -> None:
    def one_pixel(rows: list[Sample]) -> list[Sample]:
        pixels = codec.decode_image(rows[2].image, "image")
        pixels[5, 5] ^= 1
        return [*rows[:2], replace(rows[2], image=codec.encode_image(pixels, "png")), *rows[3:]]

    rewrite(copied, one_pixel)
    assert compare(scenes, copied).ok
    (found,) = compare(scenes, copied, weights=weights).differences
    assert (found.kind, found.shard, found.key) == ("pixels", SHARD, "000106")
    assert "by up to 1 grey levels" in found.message
    assert compare(scenes, copied, weights=weights, tolerance=1).ok


def test_equal_pixels_in_other_bytes_are_equal(scenes: Scenes, copied: Path, weights: str) -> None:
    """PNG files differ between unlike processors."""
    from io import BytesIO

    from PIL import Image

    def encoded_by_pillow(rows: list[Sample]) -> list[Sample]:
        buffer = BytesIO()
        Image.fromarray(codec.decode_image(rows[2].image, "image")).save(buffer, "PNG")
        assert buffer.getvalue() != rows[2].image
        return [*rows[:2], replace(rows[2], image=buffer.getvalue()), *rows[3:]]

    rewrite(copied, encoded_by_pillow)
    assert told(compare(scenes, copied, weights=weights)) == []


def test_missing_weights_and_a_sample_of_nothing_are_refused(scenes: Scenes, translated: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        compare(scenes, translated, weights=str(tmp_path / "nowhere"))
    done = dakpn("verify", "--input", scenes.synthetic, "--output", translated, "--sample", "3")
    assert done.returncode == UsageError.exit_code
    assert "give weights" in done.stderr


@pytest.fixture
def quarantined(copied: Path, scenes: Scenes) -> Path:
    """A dataset with one row in the quarantine, as it should be: with its bytes, and counted everywhere."""
    row = list(read_shard(manifest.shard_uri(scenes.synthetic, SHARD)))[2]
    keep(copied, QuarantinedRow(row.key, "tests", 2, row.image, row.image_path, row.label, row.label_path))
    rewrite(copied, lambda rows: [*rows[:2], *rows[3:]])
    change_json(copied / "_dakpn/dataset.json", "shards.1.rows", 3)
    certificate = Certificate.model_validate_json(Path(certificate_uri(str(copied))).read_text())
    rows = [found for found in manifest.read_rows(str(copied), SHARD) if found.key != row.key]
    shards = list(certificate.shards)
    shards[1] = ShardCertificate.of(SHARD, rows, quarantined=1)
    names = ("radius", "params", "weights", "settings")
    facts = {name: getattr(certificate, name) for name in names}
    write_certificate(str(copied), Certificate.of(shards, input_digest=certificate.input, **facts))
    return copied


def keep(dataset: Path, row: QuarantinedRow) -> None:
    write_quarantine(str(dataset), SHARD, [row])


def test_rows_in_the_quarantine_are_accounted_for(scenes: Scenes, quarantined: Path, weights: str) -> None:
    report = compare(scenes, quarantined, weights=weights)
    assert told(report) == []
    assert (report.rows, report.quarantined, report.retranslated) == (12, 1, 11)
    (quarantined / f"_dakpn/quarantine/{SHARD}.parquet").unlink()
    assert "missing_row" in compare(scenes, quarantined).difference_counts


@pytest.mark.parametrize("what", ["image", "label", "key", "position"])
def test_a_quarantine_that_holds_something_else_is_named(scenes: Scenes, quarantined: Path, what: str) -> None:
    row = list(read_shard(manifest.shard_uri(scenes.synthetic, SHARD)))[2]
    true = QuarantinedRow(row.key, "tests", 2, row.image, row.image_path, row.label, row.label_path)
    lies = {"image": row.image + b"x", "label": None, "key": "other", "position": 77}
    keep(quarantined, replace(true, **{what: lies[what]}))
    assert "quarantine" in compare(scenes, quarantined).difference_counts


def test_a_row_in_the_quarantine_and_in_the_output_is_named(
    scenes: Scenes, quarantined: Path, translated: Path
) -> None:
    shard = quarantined / f"{SHARD}.parquet"
    shard.write_bytes((translated / shard.name).read_bytes())
    assert any("is in the quarantine, too" in sentence for sentence in told(compare(scenes, quarantined)))


def test_a_damaged_quarantine_is_named(scenes: Scenes, quarantined: Path) -> None:
    path = quarantined / f"_dakpn/quarantine/{SHARD}.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert any(str(path) in sentence for sentence in told(compare(scenes, quarantined)))


def test_an_index_that_miscounts_or_changes_the_classes_is_named(scenes: Scenes, copied: Path) -> None:
    change_json(copied / "_dakpn/dataset.json", "shards.1.rows", 5)
    change_json(copied / "_dakpn/dataset.json", "label_space.class_map.0", 1)
    report = compare(scenes, copied)
    assert report.difference_counts == {"index": 2}
    assert any("the index says 5 rows, expected 4" in sentence.replace("dataset's ", "") for sentence in told(report))
    assert any("label_space" in sentence for sentence in told(report))
