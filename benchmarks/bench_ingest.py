"""Training's stream through Ray Data against a plain loop over the same shards, both decoding where they consume."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.datasets import workspace, write_scenes
from benchmarks.measure import Claim, alternate, at_least, at_most
from benchmarks.scenes import GTA5
from cluster.session import ray_session
from dakpn.data import codec, manifest
from dakpn.data.datasets import load_preset
from dakpn.data.image_header import ImageFormat
from dakpn.data.pack import pack_dataset
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.data.stream import ShardReader, StreamOrder, stream_samples
from workflows.ingest import READER_CPUS, ray_shard_reader

_ROUNDS = 5
_BATCH = 8
_SMALL = (192, 256)
_CASES: tuple[tuple[str, int, tuple[int, int], ImageFormat], ...] = (
    ("1914 x 1052 JPEG", 240, GTA5, "jpeg"),
    ("256 x 192 PNG", 3000, _SMALL, "png"),
)


def run() -> Iterator[Claim]:
    """Ratios of wall time, an epoch each; Ray's workers have been used before, as they have in a training."""
    with workspace() as folder, ray_session(cpus=1 + READER_CPUS):
        for name, count, size, kind in _CASES:
            yield from _case(folder / kind, name, count, size, kind)


def _case(folder: Path, name: str, count: int, size: tuple[int, int], kind: ImageFormat) -> Iterator[Claim]:
    packed = str(folder / "packed")
    source = write_scenes(folder / "source", count, size, kind)
    pack_dataset(source, packed, load_preset("camvid"), None, None, labelled=True)
    readers = {
        "plain": partial(_read_plain, packed),
        "ray": ray_shard_reader(packed, labelled=True, prefetch_batches=4),
    }
    order = StreamOrder(manifest.read_index(packed), seed=0)
    work = {reader: partial(_consume, order, read, count) for reader, read in readers.items()}
    seconds = alternate(work, _ROUNDS, clock=time.perf_counter)
    yield at_least(f"training ingest vs a plain loop, {name}", 0.75, seconds["plain"] / seconds["ray"], **seconds)
    first = [_seconds_to_first_batch(order, readers["ray"]) for _ in range(_ROUNDS)]
    yield at_most(f"seconds to the first batch, {name}", 1.0, median(first), all=first)


def _read_plain(dataset: str, names: Sequence[str]) -> Iterator[Sample]:
    for name in names:
        yield from read_shard(manifest.shard_uri(dataset, name))


def _consume(order: StreamOrder, read: ShardReader, count: int) -> None:
    for sample in islice(stream_samples(order, read), count):
        codec.decode_image(sample.image, sample.key)
        codec.decode_label(sample.label or b"", sample.key)


def _seconds_to_first_batch(order: StreamOrder, read: ShardReader) -> float:
    start = time.perf_counter()
    _consume(order, read, _BATCH)
    return time.perf_counter() - start
