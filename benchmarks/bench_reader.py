"""The map-style reader against a plain loop over the same shards: read, decode, resize, map to train ids."""

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Claim, alternate, at_least
from benchmarks.scenes import image
from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.datasets.shards import read_shard
from dakpn.images import codec
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset

_ROUNDS = 5
_IMAGES = 96
_ROWS_PER_SHARD = 48
_FULL, _SIZE = (540, 960), (256, 512)
_FORMATS: tuple[FormatName, ...] = ("parquet", "webdataset", "folder")
_RANDOM_TARGETS = {"parquet": 0.75, "webdataset": 0.9, "folder": 0.9}


def run() -> Iterator[Claim]:
    """One core, warm files. Ratios of images a second, the reader's over the loop's."""
    with tempfile.TemporaryDirectory() as folder:
        _write_scenes(Path(folder, "scenes"))
        for kind in _FORMATS:
            yield from _compare(kind, Path(folder))


def _compare(kind: FormatName, folder: Path) -> Iterator[Claim]:
    uri = str(folder / kind)
    pack_dataset(folder / "scenes", uri, load_preset("camvid"), None, _ROWS_PER_SHARD, True, kind)
    shuffled = np.random.default_rng(0).permutation(_IMAGES).tolist()
    work = {
        "loop": partial(_plain_loop, uri),
        "in order": partial(_read, uri, range(_IMAGES)),
        "shuffled": partial(_read, uri, shuffled),
    }
    seconds = alternate(work, _ROUNDS)
    rates = {name: _IMAGES / value for name, value in seconds.items()}
    yield at_least(f"reader in order vs plain loop, {kind}", 0.9, seconds["loop"] / seconds["in order"], **rates)
    target = _RANDOM_TARGETS[kind]
    yield at_least(f"reader shuffled vs plain loop, {kind}", target, seconds["loop"] / seconds["shuffled"], **rates)


def _plain_loop(uri: str) -> None:
    index = manifest.read_index(uri)
    space = LabelSpace.from_dict(index.label_space or {})
    for shard in index.shards:
        for sample in read_shard(manifest.shard_uri(uri, shard.name, index.format)):
            pixels = codec.resize_image(codec.decode_image(sample.image, sample.key), _SIZE)
            ids = codec.resize_label(codec.decode_label(sample.label or b"", sample.key), _SIZE)
            np.ascontiguousarray(pixels.transpose(2, 0, 1))
            space.to_train_ids(ids, sample.key)


def _read(uri: str, order: Sequence[int]) -> None:
    # Nothing is kept from one round to the next, and less than a shard within one.
    dataset = SegmentationDataset(uri, size=_SIZE, cache_bytes=20 * 2**20)
    for index in order:
        dataset[index]


def _write_scenes(folder: Path) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    pixels = image(_FULL)
    ids = (np.arange(_FULL[0] * _FULL[1]) // 5000 % 11).astype(np.uint8).reshape(_FULL)
    for number in range(_IMAGES):
        turned = np.roll(pixels, 10 * number, axis=1)
        (folder / f"images/{number:03}.png").write_bytes(codec.encode_image(turned, "png"))
        (folder / f"labels/{number:03}.png").write_bytes(codec.encode_label(np.roll(ids, 10 * number, axis=1)))


if __name__ == "__main__":
    for line in run():
        print(f"{line.claim:<60} target {line.target:>8}   measured {line.measured:6.2f}   {line.details}")
