"""What other libraries make of packed datasets: `datasets` and `webdataset`, both as they come."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError
from dakpn.images.codec import decode_image, decode_label
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset

CAMVID = load_preset("camvid")
_REASON = "needs the extra `readers` (datasets, webdataset)"


def packed(source: Path, out: Path, kind: FormatName) -> list[Sample]:
    index = pack_dataset(source, str(out), CAMVID, None, 3, None, kind)
    return [s for shard in index.shards for s in read_shard(manifest.shard_uri(str(out), shard.name, kind))]


def load(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason=_REASON)
    datasets.disable_progress_bars()
    return list(datasets.load_dataset(str(folder), split="train", cache_dir=str(cache)))


def test_datasets_reads_parquet_shards(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = packed(make_dataset(7), tmp_path / "out", "parquet")
    rows = load(tmp_path / "out", tmp_path / "cache", monkeypatch)
    assert [row["key"] for row in rows] == [s.key for s in samples]
    for row, sample in zip(rows, samples, strict=True):
        np.testing.assert_array_equal(np.asarray(row["image"]), decode_image(sample.image, ""))
        np.testing.assert_array_equal(np.asarray(row["label"]), decode_label(sample.label or b"", ""))


def test_datasets_reads_archives(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = packed(make_dataset(7), tmp_path / "out", "webdataset")
    rows = load(tmp_path / "out", tmp_path / "cache", monkeypatch)
    assert [row["__key__"] for row in rows] == [s.key for s in samples]
    for row, sample in zip(rows, samples, strict=True):
        np.testing.assert_array_equal(np.asarray(row["image.png"]), decode_image(sample.image, ""))
        np.testing.assert_array_equal(np.asarray(row["label.png"]), decode_label(sample.label or b"", ""))
        assert row["json"] == {"image_path": sample.image_path, "label_path": sample.label_path}


def test_webdataset_reads_archives(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason=_REASON)
    samples = packed(make_dataset(7), tmp_path / "out", "webdataset")
    shards = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    rows = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [(row["__key__"], row["image.png"], row["label.png"]) for row in rows] == [
        (s.key, s.image, s.label) for s in samples
    ]


def test_archives_that_webdataset_wrote_can_be_packed(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason=_REASON)
    samples = packed(make_dataset(7), tmp_path / "packed", "parquet")
    (tmp_path / "theirs").mkdir()
    with webdataset.ShardWriter(f"{tmp_path}/theirs/%06d.tar", maxcount=4, verbose=0) as writer:
        for sample in samples:
            row = {"__key__": sample.key, "png": sample.image, "seg.png": sample.label, "cls": 3}
            writer.write({**row, "meta.pyd": {"unused": 1}})
    pack_dataset(tmp_path / "theirs", str(tmp_path / "out"), CAMVID, None, None)
    index = manifest.read_index(str(tmp_path / "out"))
    found = [s for shard in index.shards for s in read_shard(manifest.shard_uri(str(tmp_path / "out"), shard.name))]
    assert [shard.rows for shard in index.shards] == [4, 3]
    assert [(s.key, s.image, s.label) for s in found] == [(s.key, s.image, s.label) for s in samples]


def test_parquet_that_datasets_wrote_can_be_packed(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason=_REASON)
    datasets.disable_progress_bars()
    source = make_dataset(5)
    images, labels = (sorted(map(str, (source / folder / "train").iterdir())) for folder in ("images", "labels"))
    table = datasets.Dataset.from_dict({"image": images, "annotation": labels})
    table = table.cast_column("image", datasets.Image()).cast_column("annotation", datasets.Image())
    (tmp_path / "theirs").mkdir()
    table.to_parquet(str(tmp_path / "theirs/0000.parquet"))
    with pytest.raises(DataError, match="has no image \\(or only the path of one\\)"):  # no file is opened for it
        pack_dataset(tmp_path / "theirs", str(tmp_path / "out"), CAMVID, None, None)
    from datasets.table import embed_table_storage

    embedded = table.with_format("arrow").map(embed_table_storage, batched=True)  # as `push_to_hub` does
    embedded.to_parquet(str(tmp_path / "theirs/0000.parquet"))
    pack_dataset(tmp_path / "theirs", str(tmp_path / "out"), CAMVID, None, None)
    (shard,) = manifest.read_index(str(tmp_path / "out")).shards
    found = list(read_shard(manifest.shard_uri(str(tmp_path / "out"), shard.name)))
    assert [(s.key, s.image, s.label) for s in found] == [
        (Path(image).stem, Path(image).read_bytes(), Path(label).read_bytes())
        for image, label in zip(images, labels, strict=True)
    ]
