"""Training's samples: from shards to batches, against two plain processes that do no more than decode, resize and cut.

Sizes are those of the shipped recipe for GTA5: whole images at its prediction size, patches, and shares of the classes.
"""

import multiprocessing
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.datasets import workspace, write_scenes
from benchmarks.measure import Claim, at_least, at_most
from benchmarks.recipes import shipped_config
from benchmarks.scenes import GTA5
from cluster.ingest import prepared_on_ray, stream_cpus
from cluster.session import ray_session
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.stream import PackedDataset, PreparedStream, Stream, StreamOrder, prepared_in_threads
from dakpn.datasets.training_decode import real_decoder, synthetic_decoder
from dakpn.images import codec
from dakpn.images.header import ImageFormat
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from dakpn.training.data import AdversarialBatch, BatchLoader

_PROCESSES = 2
_ROUNDS = 3
_BATCH = 8
_WARM, _BATCHES = 4, 12
_STEP_S, _STEP_BATCH, _STEPS = 0.040, 2, 60
"""A simulated GPU, with readers for it by the floor of 37 ms a pair: two cores prepare two pairs in that time."""
_CASES: tuple[tuple[str, int, ImageFormat], ...] = (("PNG", 120, "png"), ("JPEG", 120, "jpeg"))


def run() -> Iterator[Claim]:
    """Ratios of wall time, alternated, medians; Ray's workers have been used before, as they have in a training."""
    torch.set_num_threads(1)
    with workspace() as folder, ray_session(_PROCESSES + stream_cpus(1)):
        for name, count, kind in _CASES:
            packed = _packed(folder / kind, count, kind)
            yield from _rates(name, packed)
            yield from _waiting(name, packed)


def _rates(name: str, packed: Path) -> Iterator[Claim]:
    seconds: dict[str, list[float]] = {"plain": [], "threads": [], "ray": []}
    own: list[float] = []
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        work = [(str(packed / domain), _BATCHES * _BATCH) for domain in ("synthetic", "real")]
        pool.starmap(_decode_resize_cut, [(uri, 2) for uri, _ in work], chunksize=1)
        for _ in range(_ROUNDS):
            before = time.perf_counter()
            pool.starmap(_decode_resize_cut, work, chunksize=1)
            seconds["plain"].append(time.perf_counter() - before)
            for kind, prepared in _prepared().items():
                took, thread = _consume(packed, prepared)
                seconds[kind].append(took)
                own.append(1000 * thread / _BATCHES)
    middle = {kind: median(values) for kind, values in seconds.items()}
    rates = {f"{kind}_images_per_s": 2 * _BATCHES * _BATCH / value for kind, value in middle.items()}
    for kind in ("threads", "ray"):
        claim = f"images/s by {kind} vs plain processes, 1914 x 1052 {name}"
        yield at_least(claim, 0.85, middle["plain"] / middle[kind], **rates)
    yield at_most(f"ms of the trainer's thread a batch of 8 + 8, {name}", 6, median(own), all=own)


def _waiting(name: str, packed: Path) -> Iterator[Claim]:
    for kind, prepared in _prepared().items():
        batches = _batches(packed, prepared, _STEP_BATCH)
        for _ in range(_WARM * _BATCH // _STEP_BATCH):
            next(batches)
        waited, started = 0.0, time.perf_counter()
        for _ in range(_STEPS):
            before = time.perf_counter()
            next(batches)
            waited += time.perf_counter() - before
            time.sleep(_STEP_S)
        share = waited / (time.perf_counter() - started)
        yield at_most(
            f"share of waiting beside steps of 40 ms of {_STEP_BATCH} + {_STEP_BATCH}, {kind}, {name}", 0.1, share
        )


def _prepared() -> dict[str, PreparedStream]:
    return {"threads": partial(prepared_in_threads, threads=_PROCESSES), "ray": prepared_on_ray}


def _consume(packed: Path, prepared: PreparedStream) -> tuple[float, float]:
    """Seconds by the clock, and of this thread, for some batches once the stream runs."""
    batches = _batches(packed, prepared, _BATCH)
    for _ in range(_WARM):
        next(batches)
    clock, thread = time.perf_counter(), time.thread_time()
    for batch in islice(batches, _BATCHES):
        assert len(batch) == _BATCH
    return time.perf_counter() - clock, time.thread_time() - thread


def _batches(packed: Path, prepared: PreparedStream, size: int) -> Iterator[AdversarialBatch]:
    """Batches on a device to which nothing is copied: what remains is this thread's own work."""
    config = shipped_config()
    sizes = (config.prediction_size, config.adversarial.patch_size)
    synthetic, real = (PackedDataset.open(str(packed / domain)) for domain in ("synthetic", "real"))
    space = LabelSpace.from_dict(synthetic.index.label_space or {})
    ours = Stream(synthetic, StreamOrder(synthetic.index, 0), synthetic_decoder(*sizes, space), labelled=True)
    theirs = Stream(real, StreamOrder(real.index, 0), real_decoder(*sizes), labelled=False)
    return BatchLoader(prepared, torch.device("meta")).adversarial_batches(ours, theirs, size)


def _decode_resize_cut(uri: str, count: int) -> None:
    config, dataset = shipped_config(), PackedDataset.open(uri)
    height, width = config.adversarial.patch_size
    samples = (sample for shard in dataset.index.shards for sample in dataset.read(shard.name))
    for sample in islice(samples, count):
        image = codec.decode_image(sample.image, sample.key)
        codec.resize_image(image, config.prediction_size)
        np.ascontiguousarray(image[:height, :width])


def _packed(folder: Path, count: int, kind: ImageFormat) -> Path:
    source = write_scenes(folder / "source", count, GTA5, kind)
    for domain, labelled in (("synthetic", True), ("real", False)):
        pack_dataset(source, str(folder / domain), load_preset("camvid"), None, count // 4, labelled=labelled)
    return folder
