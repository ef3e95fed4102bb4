"""The map-style reader: every format by index, random views, workers of a DataLoader, little read for an item."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from torch.utils.data import DataLoader

from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.schema import Sample
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError, UsageError
from dakpn.images import codec
from dakpn.images.augmentation import Augmentation
from dakpn.sources.pack import pack_dataset
from tests.scenes import CAMVID, Scenes

KINDS: tuple[FormatName, ...] = get_args(FormatName)
SIZE = (24, 32)


@pytest.fixture(scope="module")
def packed(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """12 rows in 3 shards, in every format."""
    folder = tmp_path_factory.mktemp("reader")
    for kind in KINDS:
        pack_dataset(scenes.source, str(folder / kind), CAMVID, None, 5, True, kind)
    return {kind: str(folder / kind) for kind in KINDS}


def stored(uri: str) -> list[Sample]:
    index = manifest.read_index(uri)
    return [s for shard in index.shards for s in read_shard(manifest.shard_uri(uri, shard.name, index.format))]


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_what_is_stored_in_any_order_of_access(packed: dict[str, str], kind: str) -> None:
    dataset, rows = SegmentationDataset(packed[kind]), stored(packed[kind])
    assert len(dataset) == len(rows) == 12
    for index in [11, 0, 5, 4, 5, 10, *range(12)]:
        item, row = dataset[index], rows[index]
        assert item["key"] == row.key
        np.testing.assert_array_equal(item["image"], codec.decode_image(row.image, "").transpose(2, 0, 1))
        label = CAMVID.label_space.to_train_ids(codec.decode_label(row.label or b"", ""), "")
        np.testing.assert_array_equal(item["label"], label)
    assert dataset[-1]["key"] == rows[11].key
    assert [item["key"] for item in dataset] == [row.key for row in rows]
    with pytest.raises(IndexError, match="index 12 of 12"):
        dataset[12]


def test_a_plain_size_is_the_one_that_training_reads(packed: dict[str, str]) -> None:
    from dakpn.datasets.training_decode import labelled_decoder

    dataset = SegmentationDataset(packed["parquet"], size=SIZE)
    expected = labelled_decoder(CAMVID.label_space, SIZE)(stored(packed["parquet"])[3], np.random.default_rng())
    np.testing.assert_array_equal(dataset[3]["image"], expected["image"])
    np.testing.assert_array_equal(dataset[3]["label"], expected["label"])


def test_a_dataset_without_labels_gives_images(scenes: Scenes) -> None:
    assert set(SegmentationDataset(scenes.real)[0]) == {"key", "image"}


def test_another_class_map_is_applied(packed: dict[str, str]) -> None:
    names = CAMVID.label_space.class_names
    one = LabelSpace("sky or not", ("rest", "sky"), 255, {i: int(i == 0) for i in range(len(names))} | {11: 255})
    dataset = SegmentationDataset(packed["parquet"], label_space=one)
    own = SegmentationDataset(packed["parquet"])
    np.testing.assert_array_equal(dataset[0]["label"] == 1, own[0]["label"] == 0)


@pytest.mark.parametrize(("kind", "context"), [("parquet", "spawn"), ("webdataset", "fork")])
def test_a_data_loader_gives_the_same_with_and_without_workers(packed: dict[str, str], kind: str, context: str) -> None:
    dataset = SegmentationDataset(packed[kind], size=SIZE, augmentation=Augmentation(), seed=3)
    alone = list(DataLoader(dataset, batch_size=4))
    dataset[7]  # what is held in memory does not travel
    batches = list(DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context=context))
    assert [batch["key"] for batch in batches] == [batch["key"] for batch in alone]
    for batch, expected in zip(batches, alone, strict=True):
        assert tuple(batch["image"].shape) == (4, 3, *SIZE)
        assert batch["image"].equal(expected["image"])
        assert batch["label"].equal(expected["label"])


def test_a_copy_for_a_worker_is_small(packed: dict[str, str]) -> None:
    dataset = SegmentationDataset(packed["parquet"])
    fresh = len(pickle.dumps(dataset))
    for index in range(12):
        dataset[index]
    assert len(pickle.dumps(dataset)) == fresh
    assert pickle.loads(pickle.dumps(dataset))[5]["key"] == dataset[5]["key"]  # noqa: S301 - our own


def test_views_are_a_function_of_seed_epoch_and_index(packed: dict[str, str]) -> None:
    def views(seed: int, epoch: int) -> np.ndarray:
        dataset = SegmentationDataset(packed["parquet"], augmentation=Augmentation(), seed=seed)
        dataset.set_epoch(epoch)
        dataset[5]  # what was read before does not count
        return np.stack([dataset[i]["image"] for i in range(12)])

    np.testing.assert_array_equal(views(1, 2), views(1, 2))
    for seed, epoch in ((1, 3), (2, 2)):
        assert not np.array_equal(views(1, 2), views(seed, epoch))


def test_a_subclass_can_make_images_of_what_is_stored(packed: dict[str, str]) -> None:
    class Inverted(SegmentationDataset):
        def decode(self, sample: Sample, index: int) -> np.ndarray:
            return 255 - super().decode(sample, index)

    plain, inverted = (kind(packed["parquet"], size=(48, 64))[2] for kind in (SegmentationDataset, Inverted))
    np.testing.assert_array_equal(plain["image"], 255 - inverted["image"])
    np.testing.assert_array_equal(plain["label"], inverted["label"])


@pytest.fixture
def big_rows(tmp_path: Path) -> Callable[[FormatName], str]:
    """40 rows of noise, about 27 kB each, in one shard."""

    def make(kind: FormatName) -> str:
        for name in ("images", "labels"):
            (tmp_path / "source" / name).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for i in range(40):
            image = rng.integers(0, 256, (90, 100, 3), np.uint8)
            (tmp_path / f"source/images/{i:03}.png").write_bytes(codec.encode_image(image, "png"))
            (tmp_path / f"source/labels/{i:03}.png").write_bytes(codec.encode_label(np.zeros((90, 100), np.uint8)))
        pack_dataset(tmp_path / "source", str(tmp_path / kind), CAMVID, None, 40, True, kind)
        return str(tmp_path / kind)

    return make


@pytest.mark.parametrize(("kind", "share"), [("webdataset", 0.15), ("parquet", 0.9)])
def test_an_item_takes_its_surroundings_not_the_shard(
    big_rows: Callable[[FormatName], str], kind: FormatName, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group of Parquet has 32 of the 40 rows; the last one 8. An archive is read row by row."""
    uri = big_rows(kind)
    dataset = SegmentationDataset(uri)
    (name,) = FORMATS[kind].names(uri)
    size = Path(FORMATS[kind].uri(uri, name)).stat().st_size
    opened: list[Any] = []
    read_block = SegmentationDataset._read_block

    def counted(self: SegmentationDataset, shard: int, position: int) -> Any:
        opened.append(read_block(self, shard, position))
        return opened[-1]

    monkeypatch.setattr(SegmentationDataset, "_read_block", counted)
    for index in range(40):
        dataset[index]
    assert sum(block.bytes for block in opened) <= 1.01 * size  # in order, everything is read once
    assert max(block.bytes for block in opened) < share * size


def test_no_more_is_held_than_allowed(big_rows: Callable[[FormatName], str]) -> None:
    dataset = SegmentationDataset(big_rows("webdataset"), cache_bytes=100_000)
    for index in range(40):
        dataset[index]
    held = sum(block.bytes for block in dataset._blocks.values())
    assert 50_000 < held <= 100_000
    assert held == dataset._held_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_with_fewer_rows_than_the_index_says_is_named(
    packed: dict[str, str], kind: FormatName, tmp_path: Path
) -> None:
    import json
    import shutil

    uri = str(shutil.copytree(packed[kind], tmp_path / "copy"))
    index = Path(uri, "_dakpn/dataset.json")
    values = json.loads(index.read_text())
    values["shards"][-1]["rows"] += 1
    index.write_text(json.dumps(values))
    dataset = SegmentationDataset(uri)
    assert len(dataset) == 13
    with pytest.raises(DataError, match=r"train-00002-of-00003.* has 2 rows"):
        dataset[12]


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a packed dataset"):
        SegmentationDataset(str(tmp_path))
