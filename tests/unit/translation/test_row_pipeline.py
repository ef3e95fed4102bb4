"""Rows through the pipeline: every one comes out once, in order, with the same bytes however many threads there are."""

from dataclasses import replace
from pathlib import Path

import pytest

from dakpn.config import TranslateConfig
from dakpn.datasets import manifest
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, StorageError
from dakpn.translation.row_pipeline import TranslatedRow, translate_rows
from dakpn.translation.shard_job import translate_sample
from dakpn.translation.shard_rows import InputRow, input_rows
from dakpn.translation.translator import Translator
from tests.scenes import Scenes, copy_dataset, truncate, write_shard

CONFIG = TranslateConfig(weights="unused", input="unused", output="unused")


@pytest.fixture(scope="module")
def translator(weights: str) -> Translator:
    return Translator.load(weights)


@pytest.fixture
def shard(scenes: Scenes, tmp_path: Path) -> Path:
    return copy_dataset(scenes.synthetic, tmp_path / "source") / "train-00000-of-00003.parquet"


def translated(translator: Translator, shard: Path, threads: int) -> list[TranslatedRow]:
    return list(translate_rows(translator, CONFIG, input_rows(str(shard)), str(shard), threads=threads))


def test_the_bytes_do_not_depend_on_the_threads(translator: Translator, shard: Path) -> None:
    alone = translated(translator, shard, 0)
    assert len(alone) == 4
    for threads in (1, 5):
        assert translated(translator, shard, threads) == alone
    one_by_one = [translate_sample(translator, CONFIG, sample, str(shard))[0] for sample in read_shard(str(shard))]
    assert [row.sample for row in alone] == one_by_one


def test_an_image_does_not_depend_on_its_neighbours(translator: Translator, shard: Path) -> None:
    before = {row.record.key: row.sample for row in translated(translator, shard, 1)}
    write_shard(shard, [*read_shard(str(shard))][::-2])
    after = translated(translator, shard, 1)
    assert [row.sample for row in after] == [before[row.record.key] for row in after]


def _spoiled(rows: list[Sample]) -> list[Sample]:
    """A row that is cut off, a label of another size, an unsafe name, a key that is there already."""
    good, cut, label, unsafe = rows
    return [
        replace(cut, image=cut.image[:100]),
        good,
        replace(label, label=b"\x89PNG"),
        replace(unsafe, image_path="../../escape.png"),
        replace(good, image_path="again.png"),
    ]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_bad_row_is_quarantined_whole_and_the_others_are_translated(
    translator: Translator, shard: Path, threads: int
) -> None:
    write_shard(shard, _spoiled(list(read_shard(str(shard)))))
    before = list(input_rows(str(shard)))
    rows = translated(translator, shard, threads)
    assert [row.record.status for row in rows] == ["quarantined", "done", "quarantined", "quarantined", "quarantined"]
    assert [row.record.key for row in rows] == [row.key for row in before]
    words = ["truncated", "", "label", "expected one without", "twice"]
    for position, (source, row, word) in enumerate(zip(before, rows, words, strict=True)):
        assert (row.sample is None) != (row.quarantined is None)
        if row.quarantined is not None and source.sample is not None:
            assert word in row.quarantined.reason
            assert row.record.reason == row.quarantined.reason
            assert (row.quarantined.position, row.record.image_sha256) == (position, None)
            assert (row.quarantined.image, row.quarantined.label) == (source.sample.image, source.sample.label)


def test_a_missing_or_truncated_shard_is_no_bad_row(translator: Translator, shard: Path) -> None:
    truncate(shard)
    with pytest.raises(DataError, match="damaged"):
        translated(translator, shard, 1)
    shard.unlink()
    with pytest.raises(StorageError, match="does not exist"):
        translated(translator, shard, 1)


def test_a_row_that_cannot_even_be_read_has_a_reason(translator: Translator) -> None:
    (row,) = translate_rows(translator, CONFIG, [InputRow(3, "k", None, "it lacks its image")], "x.parquet")
    assert row.quarantined is not None
    assert (row.quarantined.reason, row.quarantined.position, row.quarantined.image) == ("it lacks its image", 3, None)


def test_seconds_are_told_by_stage(translator: Translator, shard: Path) -> None:
    seconds: dict[str, list[float]] = {}
    rows = input_rows(manifest.shard_uri(str(shard.parent), shard.stem))
    list(translate_rows(translator, CONFIG, rows, "x", spent=lambda stage, s: seconds.setdefault(stage, []).append(s)))
    encoder_and_function = 2
    calls = {stage: len(values) for stage, values in seconds.items()}
    assert calls == {"decode": 4, "translate": 4 * encoder_and_function, "encode": 4}
    assert all(value > 0 for values in seconds.values() for value in values)
