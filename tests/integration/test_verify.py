"""Verification finds every way in which an output can break the guarantee, whatever its manifests say."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dakpn.config import VerifyConfig
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import UsageError, VerificationError
from dakpn.images import codec
from dakpn.verification.report import VerificationReport
from tests.command import assert_failed, dakpn, dakpn_process
from tests.scenes import Scenes, copy_dataset, truncate, write_shard
from workflows import verify

SHARD = "train-00001-of-00003"


@pytest.fixture
def copied(translated: Path, tmp_path: Path) -> Path:
    """A translated dataset to be damaged."""
    return copy_dataset(str(translated), tmp_path / "out")


def check(scenes: Scenes, output: Path) -> int:
    return verify.main(VerifyConfig(input=scenes.synthetic, output=str(output), workers=1))


def compare(scenes: Scenes, output: Path, **more) -> VerificationReport:
    return verify.compare(VerifyConfig(input=scenes.synthetic, output=str(output), **{"workers": 1, **more}))


def rewrite(output: Path, change: Callable[[list[Sample]], list[Sample]]) -> None:
    path = output / f"{SHARD}.parquet"
    write_shard(path, change(list(read_shard(str(path)))))


def test_an_untouched_output_holds(scenes: Scenes, translated: Path) -> None:
    assert check(scenes, translated) == 12


def test_an_untouched_rewritten_shard_holds(scenes: Scenes, copied: Path) -> None:
    rewrite(copied, lambda rows: rows)
    assert check(scenes, copied) == 12


def _one_label_pixel(rows: list[Sample]) -> list[Sample]:
    label = codec.decode_label(rows[2].label or b"", "label")
    label[0, 0] += 1
    return [*rows[:2], replace(rows[2], label=codec.encode_label(label)), *rows[3:]]


def _same_label_encoded_anew(rows: list[Sample]) -> list[Sample]:
    label = rows[2].label or b""
    anew = codec.encode_label(codec.decode_label(label, "label"))
    assert anew != label
    return [*rows[:2], replace(rows[2], label=anew), *rows[3:]]


def _no_label(rows: list[Sample]) -> list[Sample]:
    return [*rows[:2], replace(rows[2], label=None, label_path=None), *rows[3:]]


def _two_labels_swapped(rows: list[Sample]) -> list[Sample]:
    return [rows[0], rows[1], replace(rows[2], label=rows[3].label), replace(rows[3], label=rows[2].label)]


def _other_order(rows: list[Sample]) -> list[Sample]:
    return [rows[0], rows[1], rows[3], rows[2]]


def _row_dropped(rows: list[Sample]) -> list[Sample]:
    return [rows[0], rows[1], rows[3]]


def _last_row_dropped(rows: list[Sample]) -> list[Sample]:
    return rows[:3]


def _row_added(rows: list[Sample]) -> list[Sample]:
    return [*rows, replace(rows[0], key="one/more")]


def _other_size(rows: list[Sample]) -> list[Sample]:
    image = codec.encode_image(np.zeros((10, 10, 3), np.uint8), "png")
    return [*rows[:2], replace(rows[2], image=image), *rows[3:]]


def _image_cut_off(rows: list[Sample]) -> list[Sample]:
    return [*rows[:2], replace(rows[2], image=rows[2].image[:-30]), *rows[3:]]


def _image_byte_flipped(rows: list[Sample]) -> list[Sample]:
    image = bytearray(rows[2].image)
    image[len(image) // 2] ^= 1
    return [*rows[:2], replace(rows[2], image=bytes(image)), *rows[3:]]


def _no_image(rows: list[Sample]) -> list[Sample]:
    return [*rows[:2], replace(rows[2], image=b"no image"), *rows[3:]]


def _other_path(rows: list[Sample]) -> list[Sample]:
    return [*rows[:2], replace(rows[2], label_path="elsewhere.png"), *rows[3:]]


def _row_twice(rows: list[Sample]) -> list[Sample]:
    return [*rows, rows[2]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_one_label_pixel, "label of 000106 differs"),
        (_same_label_encoded_anew, "label of 000106 differs"),
        (_no_label, "label of 000106 differs"),
        (_two_labels_swapped, "label of 000106 differs"),
        (_other_order, "found row 000107 where 000106 was expected"),
        (_row_dropped, "row 000106 is missing in the output"),
        (_row_twice, "row 000106 is there twice"),
        (_last_row_dropped, "row 000107 is missing in the output"),
        (_row_added, "row one/more is missing in the input"),
        (_other_size, "the image of 000106 has another size"),
        (_image_cut_off, "000106: the PNG"),
        (_image_byte_flipped, "000106: the PNG data is damaged"),
        (_no_image, "000106: got a file that begins with"),
        (_other_path, "the label_path of 000106 is 'elsewhere.png', expected 'labels/000106.png'"),
    ],
)
def test_a_changed_row_is_named_with_its_shard(
    scenes: Scenes, copied: Path, change: Callable[[list[Sample]], list[Sample]], words: str
) -> None:
    rewrite(copied, change)
    with pytest.raises(VerificationError) as caught:
        check(scenes, copied)
    assert f"{copied}/{SHARD}.parquet" in str(caught.value)
    assert words in str(caught.value)
    swapped = change is _two_labels_swapped
    found = "2 differences" if swapped else "1 difference,"
    assert found in str(caught.value)  # what follows from a difference is none of its own


def test_a_flipped_byte_in_a_stored_label_is_found(scenes: Scenes, copied: Path) -> None:
    path = copied / f"{SHARD}.parquet"
    label = next(read_shard(str(path))).label
    assert label is not None
    data = bytearray(path.read_bytes())
    data[data.index(label) + len(label) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=rf"{SHARD}\.parquet: the label of 000104 differs"):
        check(scenes, copied)


@pytest.mark.parametrize("damage", [truncate, Path.unlink], ids=["truncated", "deleted"])
def test_a_truncated_or_deleted_shard_is_named(scenes: Scenes, copied: Path, damage: Callable[[Path], None]) -> None:
    damage(copied / f"{SHARD}.parquet")
    with pytest.raises(VerificationError, match=rf"1 difference, first: .*{SHARD}\.parquet"):
        check(scenes, copied)


def test_a_shard_that_the_index_leaves_out_is_missed(scenes: Scenes, copied: Path) -> None:
    index = copied / "_dakpn/dataset.json"
    values = json.loads(index.read_text())
    values["shards"] = [shard for shard in values["shards"] if shard["name"] != SHARD]
    index.write_text(json.dumps(values))
    with pytest.raises(VerificationError, match=f"shard {SHARD} is missing"):
        check(scenes, copied)


def test_a_shard_under_another_name_is_missed_and_found(scenes: Scenes, copied: Path) -> None:
    other = "train-00007-of-00009"
    (copied / f"{SHARD}.parquet").rename(copied / f"{other}.parquet")
    index = copied / "_dakpn/dataset.json"
    index.write_text(index.read_text().replace(SHARD, other))
    kinds = {(found.kind, found.shard) for found in compare(scenes, copied).differences}
    assert {("missing_shard", SHARD), ("extra_shard", other)} <= kinds


def test_a_file_that_other_readers_would_take_for_a_shard_is_named(scenes: Scenes, copied: Path) -> None:
    shutil.copy(copied / f"{SHARD}.parquet", copied / "train-00003-of-00003.parquet")
    (copied / "train-00000.tar").touch()
    found = compare(scenes, copied).differences
    assert [(one.kind, one.shard) for one in found] == [
        ("extra_shard", "train-00003-of-00003"),
        ("extra_shard", "train-00000"),
    ]


def test_damaged_jpeg_data_is_found_by_decoding(scenes: Scenes, translated: Path, tmp_path: Path) -> None:
    """A JPEG file has no checksums; only its header and end are looked at otherwise."""
    before, after = copy_dataset(scenes.synthetic, tmp_path / "in"), copy_dataset(str(translated), tmp_path / "jpeg")

    def as_jpeg(rows: list[Sample]) -> list[Sample]:
        pixels = codec.decode_image(rows[2].image, "image")
        return [*rows[:2], replace(rows[2], image=codec.encode_image(pixels, "jpeg")), *rows[3:]]

    def damaged(rows: list[Sample]) -> list[Sample]:
        image = rows[2].image
        return [*rows[:2], replace(rows[2], image=image[: len(image) // 2] + image[-2:]), *rows[3:]]

    rewrite(before, as_jpeg)
    rewrite(after, as_jpeg)
    rewrite(after, damaged)
    config = VerifyConfig(input=str(before), output=str(after), workers=1)
    assert "image" not in verify.compare(config).difference_counts
    found = verify.compare(config.model_copy(update={"decode": True})).difference_counts
    assert found["image"] == 1


def test_an_unfinished_output_is_refused(scenes: Scenes, copied: Path) -> None:
    (copied / "_SUCCESS").unlink()
    with pytest.raises(UsageError, match="not finished"):
        check(scenes, copied)


def test_workers_on_ray_find_what_one_process_finds(ray_here: str, scenes: Scenes, copied: Path, weights: str) -> None:
    def one_pixel(rows: list[Sample]) -> list[Sample]:
        pixels = codec.decode_image(rows[2].image, "image")
        pixels[5, 5] ^= 1
        return [*rows[:2], replace(rows[2], image=codec.encode_image(pixels, "png")), *rows[3:]]

    rewrite(copied, one_pixel)
    reports = [compare(scenes, copied, workers=workers, weights=weights) for workers in (1, 2)]
    assert reports[0].differences == reports[1].differences
    assert reports[0].difference_counts == {"pixels": 1}
    assert reports[0].retranslated == reports[1].retranslated == 12


def test_the_command_joins_the_cluster_it_is_told_of(ray_here: str, scenes: Scenes, copied: Path) -> None:
    arguments = ("--input", scenes.synthetic, "--output", copied)
    done = dakpn_process("verify", *arguments, RAY_ADDRESS=ray_here)
    assert done.returncode == 0, done.stderr
    assert "12 in 3 shards, in the input's order" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(rf"{copied}: complete, 12 labels byte-identical \(\d+ images/s\)", last)
    truncate(copied / f"{SHARD}.parquet")
    assert_failed(dakpn("verify", *arguments), 1, str(copied), SHARD)
    done = dakpn("verify", *arguments, "workers=1", "--json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert not found["ok"]
    assert (found["rows"], found["difference_counts"]) == (8, {"unreadable_shard": 1})
    (difference,) = found["differences"]
    assert (difference["kind"], difference["shard"], difference["key"]) == ("unreadable_shard", SHARD, "")
