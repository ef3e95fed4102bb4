"""Translating a dataset: exact labels, resume after any interruption, failures by the shard.

Most of it runs in this process, which shows the same job as Ray does; what Ray adds is at the end.
"""

import contextlib
import hashlib
import os
import re
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from dakpn import storage
from dakpn.config import VerifyConfig
from dakpn.config_file import to_yaml
from dakpn.datasets import manifest
from dakpn.datasets.certificate import read_certificate
from dakpn.datasets.quarantine import quarantined_shards, read_quarantine
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, UsageError
from dakpn.images import codec
from dakpn.models.weights import load_predictor
from dakpn.translation.job_report import read_report
from tests.command import assert_failed, dakpn, dakpn_process
from tests.scenes import Scenes, copy_dataset, truncate, write_shard
from tests.translations import arguments, job, outputs
from workflows import translate, verify


def shard_digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


def samples(uri: str | Path) -> list[Sample]:
    names = sorted(path.stem for path in Path(uri).glob("*.parquet"))
    return [sample for name in names for sample in read_shard(manifest.shard_uri(str(uri), name))]


def pixels(sample: Sample) -> np.ndarray:
    return codec.decode_image(sample.image, sample.key)


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
    assert verify.main(VerifyConfig(input=scenes.synthetic, output=str(translated), workers=1)) == 12


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


def test_a_rerun_does_not_touch_what_is_done(scenes: Scenes, weights: str, translated: Path, tmp_path: Path) -> None:
    copied = copy_dataset(str(translated), tmp_path / "out")

    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in copied.glob("*.parquet")}

    before = times()
    index = translate.main(job(weights, scenes.synthetic, copied))
    assert times() == before
    assert index == manifest.read_index(str(copied))


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
    assert verify.main(VerifyConfig(input=str(source), output=str(out), workers=1)) == 12


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
    assert verify.main(VerifyConfig(input=str(source), output=str(out), workers=1)) == 12


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
        verify.main(VerifyConfig(input=str(source), output=str(out), workers=1))
    translate.main(config.model_copy(update={"max_bad_fraction": 0.09}))
    assert (out / "_SUCCESS").exists()


def test_the_command_makes_chosen_shards_and_tells_of_the_quarantine_by_its_exit_code(
    weights: str, with_a_broken_image: Path, tmp_path: Path
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
    assert "with 1 worker (" in dakpn(*arguments, "--dry-run", "workers=0", allowed).stdout
    assert not out.exists()

    first = dakpn(*arguments, "--only", "train-00000-of-00003", "workers=0", allowed)
    assert (first.returncode, first.stdout[:30]) == (0, f"{out}: not complete yet"[:30]), first.stderr
    assert list(shard_digests(out)) == ["train-00000-of-00003.parquet"]
    assert not (out / "_SUCCESS").exists()
    assert_failed(dakpn(*arguments, "--only", "train-9", "workers=0"), 2, "no shard 'train-9'")

    over = dakpn(*arguments, "workers=0")
    assert_failed(over, 1, "1 of 12 rows cannot be translated", "104.png: the PNG file is truncated")
    done = dakpn(*arguments, "workers=0", allowed)
    assert (done.returncode, done.stdout) == (3, f"{out}: 11 images in 3 shards\n"), done.stderr
    assert (out / "_SUCCESS").exists()


class Killed(BaseException):
    """What no code catches. `test_storage_leftovers` is about the half-written files that a true kill leaves."""


@pytest.mark.parametrize("content", ["pixels", "params"])
def test_a_job_that_ends_at_any_write_goes_on_to_the_same_bytes(
    content: str, scenes: Scenes, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is put in place by a rename: each of them in turn does not happen any more, nor does a later one."""
    put, left = os.replace, 0

    def put_or_die(*paths: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        put(*paths)

    translate.main(job(weights, scenes.synthetic, tmp_path / "straight", content=content))
    expected = outputs(tmp_path / "straight")
    for writes in count():
        out = tmp_path / str(writes)
        config, left = job(weights, scenes.synthetic, out, content=content), writes
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(os, "replace", put_or_die)
            translate.main(config)
            break
        assert not (out / "_SUCCESS").exists()
        done = {path.stem: path.stat().st_mtime_ns for path in out.glob("_dakpn/shards/*.json")}
        translate.main(config)
        assert outputs(out) == expected
        assert (out / "_SUCCESS").exists()
        assert done == {name: (out / f"_dakpn/shards/{name}.json").stat().st_mtime_ns for name in done}
    assert writes > 3 * 3  # a shard, its rows and its marker, three times


@pytest.mark.usefixtures("ray_here")
def test_workers_on_ray_make_the_bytes_of_one_process(
    scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    translate.main(job(weights, scenes.synthetic, tmp_path / "out", workers=2))
    assert shard_digests(tmp_path / "out") == shard_digests(translated)


def test_the_terminal_of_a_job_on_ray_shows_our_lines_alone(
    ray_here: str, scenes: Scenes, weights: str, tmp_path: Path
) -> None:
    words = arguments(weights, scenes.synthetic, tmp_path / "out", "workers=1", "--only", "train-00000-of-00003")
    done = dakpn_process(*words, RAY_ADDRESS=ray_here)
    assert done.returncode == 0, done.stderr
    lines = [re.sub(r"^\d\d:\d\d:\d\d | \d+ s,", "", line) for line in done.stderr.splitlines()]
    assert lines == [
        "INFO 1 of 3 shards to translate, 0 done before",
        "INFO 4 images in 1 shard translated in 2 shards left",
    ]


@pytest.mark.usefixtures("ray_here")
def test_a_truncated_shard_fails_alone_and_is_made_when_it_is_whole_again(
    scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    source, out = copy_dataset(scenes.synthetic, tmp_path / "source"), tmp_path / "out"
    shard = source / "train-00001-of-00003.parquet"
    truncate(shard)
    with pytest.raises(DataError, match=rf"1 of 3 shards failed, first: {shard}.*damaged"):
        translate.main(job(weights, source, out, workers=2))
    report = read_report(str(out))
    assert [failure.shard for failure in report.failures] == [shard.stem]
    assert report.shards == 2
    assert not (out / "_SUCCESS").exists()
    shutil.copy2(Path(scenes.synthetic) / shard.name, shard)
    translate.main(job(weights, source, out, workers=1), retry_failed=True)
    assert read_report(str(out)).shards == 1
    assert shard_digests(out) == shard_digests(translated)
    assert (out / "_SUCCESS").exists()


@pytest.mark.usefixtures("ray_here")
def test_on_ray_a_job_ends_at_its_budget_and_quarantines_as_in_one_process(
    weights: str, with_a_broken_image: Path, tmp_path: Path
) -> None:
    source = with_a_broken_image.parent
    config = job(weights, source, tmp_path / "out", workers=1, max_bad_fraction=0.08)
    with pytest.raises(DataError, match=r"more than max_bad_fraction=0\.08 allows, first: .*truncated"):
        translate.main(config)
    assert not (tmp_path / "out/_SUCCESS").exists()
    index = translate.main(config.model_copy(update={"max_bad_fraction": 0.1}))
    assert index is not None
    assert [shard.rows for shard in index.shards] == [4, 3, 4]
    translate.main(job(weights, source, tmp_path / "one", max_bad_fraction=0.1))
    assert outputs(tmp_path / "out") == outputs(tmp_path / "one")
