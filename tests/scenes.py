"""Tiny packed datasets of rendered road scenes, and the smallest configs that train on them."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dakpn import storage
from dakpn.config import TrainConfig
from dakpn.config_file import build_config
from dakpn.datasets.schema import Sample
from dakpn.scenes import photograph, render_scene, write_dataset
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset

SIZE = (48, 64)
ROWS_PER_SHARD = 4
CAMVID = load_preset("camvid")


@dataclass(frozen=True)
class Scenes:
    """Folders of images, and the packed datasets made from them. Tests copy what they want to damage."""

    folder: Path

    @property
    def source(self) -> Path:
        """Folder of synthetic images and labels: 12 pairs."""
        return self.folder / "source" / "synthetic"

    @property
    def synthetic(self) -> str:
        """Packed and labelled: 12 rows in 3 shards."""
        return str(self.folder / "synthetic")

    @property
    def real(self) -> str:
        """Packed without labels: 12 rows in 3 shards."""
        return str(self.folder / "real")

    @property
    def test(self) -> str:
        """Packed real images with labels: 8 rows in 2 shards."""
        return str(self.folder / "test")


def make_scenes(folder: Path) -> Scenes:
    """Render and pack."""
    scenes = Scenes(folder)
    write_dataset(scenes.source, 12, 100, partial(render_scene, size=SIZE), processes=1)
    pack_dataset(scenes.source, scenes.synthetic, CAMVID, None, ROWS_PER_SHARD, labelled=True)
    for name, count, seed, labelled in (("real", 12, 500, False), ("test", 8, 700, True)):
        source = folder / "source" / name
        write_dataset(source, count, seed, partial(photograph, size=SIZE), processes=1)
        pack_dataset(source, str(folder / name), CAMVID, None, ROWS_PER_SHARD, labelled=labelled)
    return scenes


def copy_dataset(uri: str, to: Path) -> Path:
    """A copy that a test may damage, file times kept."""
    return Path(shutil.copytree(uri, to))


def as_cityscapes(source: Path, to: Path) -> Path:
    """The same scenes in the layout of Cityscapes, a third in the split val; their ids are among its own."""
    for index, image in enumerate(sorted((source / "images").rglob("*.png"))):
        split, city = ("train", "ulm") if index % 3 else ("val", "lindau")
        label = source / "labels" / image.relative_to(source / "images")
        for path, name in ((image, "leftImg8bit"), (label, "gtFine")):
            kind = name if name == "leftImg8bit" else "gtFine_labelIds"
            copy = to / name / split / city / f"{city}_{index:06d}_000019_{kind}.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return to


def uploaded(folder: str, to: str) -> str:
    """Copy a local folder's files to a URI, hidden ones left out; returns the URI."""
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            storage.write_bytes(f"{to}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return to


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Replace a Parquet shard by one with these rows, whatever the library would say to them."""
    rows = [
        {
            "key": sample.key,
            "image": {"bytes": sample.image, "path": sample.image_path},
            "label": None if sample.label is None else {"bytes": sample.label, "path": sample.label_path},
        }
        for sample in samples
    ]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path, compression="none")


def truncate(path: Path, keep: float = 0.6) -> None:
    """Cut the end off a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


TINY_TRAINING: dict[str, Any] = {
    "prediction_size": [24, 32],
    "encoder": {
        "network": {"widths": [4, 8, 8, 16]},
        "training": {"size": [24, 32], "steps": 4, "batch_size_per_worker": 2},
    },
    "discriminator": {"widths": [8, 16]},
    "adversarial": {"patch_size": [32, 32], "steps": 8, "batch_size_per_worker": 2},
    "report_every": 2,
    "checkpoint_every": 2,
    "max_failures": 0,
}


def tiny_training(run: Path | str, scenes: Scenes, *overrides: str, **values: Any) -> TrainConfig:
    """A config that trains both stages in a few steps on the tiny datasets."""
    datasets = {"run": str(run), "synthetic": scenes.synthetic, "real": scenes.real}
    return build_config(TrainConfig, {**TINY_TRAINING, **datasets, **values}, overrides)
