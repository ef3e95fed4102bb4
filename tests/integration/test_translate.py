"""Translating a dataset through Ray Data: exact labels, resume after any interruption, failures by the shard."""

import hashlib
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dakpn.config import TranslateConfig, VerifyConfig
from dakpn.config_file import to_yaml
from dakpn.data import codec, manifest, storage
from dakpn.data.certificate import read_certificate
from dakpn.data.pack import pack_dataset
from dakpn.data.procedural import render_scene, write_dataset
from dakpn.data.quarantine import quarantined_shards, read_quarantine
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.errors import DataError, UsageError
from dakpn.inference.job_report import read_report
from dakpn.models.weights import load_predictor
from tests.command import assert_failed, dakpn
from tests.processes import kill_midway
from tests.scenes import CAMVID, Scenes, copy_dataset, truncate, write_shard
from workflows import translate, verify

pytestmark = pytest.mark.usefixtures("ray_here")


def job(weights: str, source: str | Path, output: Path, **more) -> TranslateConfig:
    return TranslateConfig(weights=weights, input=str(source), output=str(output), **more)


def shard_digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


def samples(uri: str | Path) -> list[Sample]:
    names = sorted(path.stem for path in Path(uri).glob("*.parquet"))
    return [sample for name in names for sample in read_shard(manifest.shard_uri(str(uri), name))]


def pixels(sample: Sample) -> np.ndarray:
    return codec.decode_image(sample.image, sample.key)


@pytest.fixture(scope="module")
def translated(ray_here: str, scenes: Scenes, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic dataset, translated once. Tests copy it before they change it."""
    output = tmp_path_factory.mktemp("translated") / "out"
    translate.main(job(weights, scenes.synthetic, output))
    return output


def test_labels_keys_and_paths_are_the_inputs_byte_for_byte_while_images_change(
    scenes: Scenes, translated: Path
) -> None:
    pairs = list(zip(samples(scenes.synthetic), samples(translated), strict=True))
    assert len(pairs) == 12
    for before, after in pairs:
        assert after.label == before.label
        assert (after.key, after.image_path, after.label_path) == (before.key, before.image_path, before.label_path)
        assert pixels(after).shape == pixels(before).shape
        assert np.abs(pixels(after).astype(int) - pixels(before)).mean() > 2
    assert verify.main(VerifyConfig(input=scenes.synthetic, output=str(translated))) == 12


def test_the_output_is_a_dataset_that_describes_itself(scenes: Scenes, translated: Path, weights: str) -> None:
    before, after = manifest.read_index(scenes.synthetic), manifest.read_index(str(translated))
    assert after.label_space == before.label_space
    assert after.labelled
    assert {entry.name: entry.sha256 for entry in after.shards} == {
        name.removesuffix(".parquet"): digest for name, digest in shard_digests(translated).items()
    }
    for entry in after.shards:
        rows = manifest.read_rows(str(translated), entry.name)
        written = list(read_shard(manifest.shard_uri(str(translated), entry.name)))
        assert [row.image_sha256 for row in rows] == [hashlib.sha256(s.image).hexdigest() for s in written]
        assert [row.label_sha256 for row in rows] == [hashlib.sha256(s.label or b"").hexdigest() for s in written]
        assert entry.rows == len(rows)
    run = storage.read_json(str(translated / "_dakpn/run.json"))
    assert run["weights"] == load_predictor(weights)[2]
    assert run["config"] == to_yaml(job(weights, scenes.synthetic, translated))


def test_the_bytes_do_not_depend_on_the_number_of_workers(
    scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    translate.main(job(weights, scenes.synthetic, tmp_path / "out", workers=1))
    assert shard_digests(tmp_path / "out") == shard_digests(translated)


def test_a_rerun_does_not_touch_what_is_done(scenes: Scenes, weights: str, translated: Path) -> None:
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in translated.glob("*.parquet")}

    before = times()
    index = translate.main(job(weights, scenes.synthetic, translated))
    assert times() == before
    assert index == manifest.read_index(str(translated))


def test_a_missing_shard_is_the_only_one_made_again(
    scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    copied = copy_dataset(str(translated), tmp_path / "out")
    (copied / "train-00001-of-00003.parquet").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in copied.glob("*.parquet")}
    translate.main(job(weights, scenes.synthetic, copied))
    assert shard_digests(copied) == shard_digests(translated)
    assert {name: (copied / name).stat().st_mtime_ns for name in before} == before


def test_a_shard_whose_input_changed_is_the_only_one_made_again(
    scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    source, out = copy_dataset(scenes.synthetic, tmp_path / "source"), copy_dataset(str(translated), tmp_path / "out")
    before = shard_digests(out)
    changed = source / "train-00002-of-00003.parquet"
    write_shard(changed, [*read_shard(str(changed))][::-1])
    translate.main(job(weights, source, out))
    after = shard_digests(out)
    assert [name for name in before if before[name] != after[name]] == [changed.name]
    assert verify.main(VerifyConfig(input=str(source), output=str(out))) == 12


def test_weights_that_look_at_labels_refuse_a_dataset_without_them(
    scenes: Scenes, weights: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"has no labels, and the weights look at them; pack it with labels"):
        translate.main(job(weights, scenes.real, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_strength_0_gives_the_same_pixels_also_of_a_dataset_without_labels(
    scenes: Scenes, weights_for_any_image: str, tmp_path: Path
) -> None:
    index = translate.main(job(weights_for_any_image, scenes.real, tmp_path / "out", strength=0.0))
    assert not index.labelled
    pairs = list(zip(samples(scenes.real), samples(tmp_path / "out"), strict=True))
    assert len(pairs) == 12
    for before, after in pairs:
        assert after.label is None
        assert np.array_equal(pixels(before), pixels(after))


def test_an_unfinished_input_is_refused(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    (source / "_SUCCESS").unlink()
    with pytest.raises(UsageError, match=f"{source} is not finished"):
        translate.main(job(weights, source, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def with_a_broken_image(scenes: Scenes, tmp_path: Path) -> Path:
    """A dataset whose second shard holds an image that is cut off."""
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    shard = source / "train-00001-of-00003.parquet"
    good, *rest = read_shard(str(shard))
    broken = Sample(good.key, good.image[: len(good.image) // 2], good.image_path, good.label, good.label_path)
    write_shard(shard, [broken, *rest])
    return shard


def test_a_broken_image_is_quarantined_with_its_bytes_and_a_mended_one_completes_the_dataset(
    scenes: Scenes, weights: str, with_a_broken_image: Path, translated: Path, tmp_path: Path
) -> None:
    source, out = with_a_broken_image.parent, tmp_path / "out"
    index = translate.main(job(weights, source, out, max_bad_fraction=0.1))
    assert index is not None
    assert [shard.rows for shard in index.shards] == [4, 3, 4]
    before, after = shard_digests(translated), shard_digests(out)
    assert [name for name in before if before[name] != after[name]] == [with_a_broken_image.name]

    name = with_a_broken_image.stem
    assert quarantined_shards(str(out)) == [name]
    bad, (kept,) = next(read_shard(str(with_a_broken_image))), read_quarantine(str(out), name)
    assert (kept.image, kept.label, kept.key, kept.position) == (bad.image, bad.label, bad.key, 0)
    assert "truncated" in kept.reason
    records = manifest.read_rows(str(out), name)
    assert [record.status for record in records] == ["quarantined", "done", "done", "done"]
    assert records[0].reason == kept.reason
    certificate = read_certificate(str(out))
    assert certificate is not None
    assert (certificate.rows, certificate.quarantined) == (11, 1)

    with_a_broken_image.write_bytes((Path(scenes.synthetic) / with_a_broken_image.name).read_bytes())
    translate.main(job(weights, source, out))
    assert shard_digests(out) == before
    assert quarantined_shards(str(out)) == []
    assert verify.main(VerifyConfig(input=str(source), output=str(out))) == 12


def test_more_bad_rows_than_allowed_end_the_job_and_leave_no_sign_of_success(
    weights: str, with_a_broken_image: Path, translated: Path, tmp_path: Path
) -> None:
    """The output folder holds a finished dataset of other settings: of that, the sign of success must not remain."""
    source, out = with_a_broken_image.parent, copy_dataset(str(translated), tmp_path / "out")
    config = job(weights, source, out, draw=1, max_bad_fraction=0.08)
    for _ in range(2):  # the second run has nothing to do, and knows it from the markers
        with pytest.raises(DataError, match=r"1 of 12 rows cannot be translated, more than max_bad_fraction=0\.08"):
            translate.main(config)
        assert not (out / "_SUCCESS").exists()
    with pytest.raises(UsageError, match="not finished"):
        verify.main(VerifyConfig(input=str(source), output=str(out)))
    translate.main(config.model_copy(update={"max_bad_fraction": 0.09}))
    assert (out / "_SUCCESS").exists()


def test_a_truncated_shard_fails_alone_and_is_made_when_it_is_whole_again(
    scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    source, out = copy_dataset(scenes.synthetic, tmp_path / "source"), tmp_path / "out"
    shard = source / "train-00001-of-00003.parquet"
    truncate(shard)
    with pytest.raises(DataError, match=rf"1 of 3 shards failed, first: {shard}.*damaged"):
        translate.main(job(weights, source, out))
    report = read_report(str(out))
    assert [failure.shard for failure in report.failures] == [shard.stem]
    assert report.shards == 2
    assert not (out / "_SUCCESS").exists()
    shutil.copy2(Path(scenes.synthetic) / shard.name, shard)
    translate.main(job(weights, source, out), retry_failed=True)
    assert read_report(str(out)).shards == 1
    assert shard_digests(out) == shard_digests(translated)
    assert (out / "_SUCCESS").exists()


def test_the_command_makes_chosen_shards_and_tells_of_the_quarantine_by_its_exit_code(
    ray_here: str, weights: str, with_a_broken_image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("translate", "--weights", weights, "--input", with_a_broken_image.parent, "--output", out)
    allowed = "max_bad_fraction=0.1"
    planned = dakpn(*arguments, "--dry-run", "price_per_worker_hour=2", "workers=[1,2]", allowed)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.startswith("12 images in 3 shards to translate, ")
    assert "with 2 workers (" in planned.stdout
    assert "at 2 a worker and hour" in planned.stdout
    assert "1 of the 12 would go to the quarantine" in planned.stdout
    assert not out.exists()

    first = dakpn(*arguments, "--only", "train-00000-of-00003", allowed, RAY_ADDRESS=ray_here)
    assert (first.returncode, first.stdout[:30]) == (0, f"{out}: not complete yet"[:30]), first.stderr
    assert list(shard_digests(out)) == ["train-00000-of-00003.parquet"]
    assert not (out / "_SUCCESS").exists()
    assert_failed(dakpn(*arguments, "--only", "train-9", RAY_ADDRESS=ray_here), 2, "no shard 'train-9'")

    over = dakpn(*arguments, RAY_ADDRESS=ray_here)
    assert_failed(over, 1, "1 of 12 rows cannot be translated", "104.png: the PNG file is truncated")
    done = dakpn(*arguments, allowed, RAY_ADDRESS=ray_here)
    assert (done.returncode, done.stdout) == (3, f"{out}: 11 images in 3 shards\n"), done.stderr
    assert (out / "_SUCCESS").exists()


def test_a_killed_job_ends_with_the_same_bytes_after_a_rerun(weights: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "rendered", 10, 0, partial(render_scene, size=(96, 128)), processes=1)
    source, killed, straight = (tmp_path / name for name in ("source", "killed", "straight"))
    pack_dataset(tmp_path / "rendered", str(source), CAMVID, None, 1, labelled=True)

    def midway() -> bool:
        return len(list((killed / "_dakpn/shards").glob("*.json"))) >= 2

    arguments = ["translate", "--weights", weights, "--input", source, "--output", killed, "workers=1"]
    kill_midway(arguments, midway, tmp_path / "log")
    done = {path.stem for path in (killed / "_dakpn/shards").glob("*.json")}
    assert 2 <= len(done) < 10
    assert not (killed / "_SUCCESS").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in killed.glob("*.parquet") if path.stem in done}

    translate.main(job(weights, source, killed))
    translate.main(job(weights, source, straight))
    assert len(shard_digests(straight)) == 10
    assert shard_digests(killed) == shard_digests(straight)
    assert {name: (killed / name).stat().st_mtime_ns for name in kept} == kept
    assert verify.main(VerifyConfig(input=str(source), output=str(killed))) == 10
