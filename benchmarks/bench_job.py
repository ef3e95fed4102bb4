"""The translation job on Ray against the same code in a plain loop of processes, its scaling, and its memory."""

import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Claim, at_least, at_most, peak_bytes
from benchmarks.scenes import PREDICTION, image
from cluster.session import ray_session
from dakpn.config import (
    HeadConfig,
    PredictorConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslateConfig,
    TranslationConfig,
)
from dakpn.datasets import manifest
from dakpn.datasets.manifest import DatasetIndex, ShardEntry
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import shard_name, write_shard
from dakpn.images import codec
from dakpn.models.predictor import KernelPredictor
from dakpn.models.weights import save_predictor
from dakpn.sources.preset import load_preset
from dakpn.translation.job_plan import plan_translation
from dakpn.translation.shard_job import ShardWork
from dakpn.translation.shard_rows import input_rows
from dakpn.translation.shard_task import ShardTask
from dakpn.translation.translator import Translator
from workflows import translate

_SHARDS, _ROWS = 60, 8
"""Still small ones, 7 MB, for half a minute of work: the shard that ends last, beside an idle core, counts for 1.6 % of
it. It counts for 4 % of 24 shards, and for nothing in a long job."""
_ROUNDS = 3
_CORES = 2


def run() -> Iterator[Claim]:
    """GTA5-sized JPEG images. Times are of the wall, from the first finished shard to the last: so both are warm."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = _weights(folder / "weights")
        source = _dataset(folder / "source", _SHARDS)
        config = partial(TranslateConfig, weights=weights, input=source, decode_workers=0)
        contestants: dict[str, tuple[Callable[[TranslateConfig], Any], int]] = {
            "ray": (translate.main, _CORES),
            "plain_loop": (_plain_loop, _CORES),
            "ray_one_worker": (translate.main, 1),
        }
        seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        with ray_session(cpus=_CORES):
            for turn in range(_ROUNDS):
                for contestant, (work, workers) in contestants.items():
                    output = folder / f"{contestant}-{turn}"
                    work(config(output=str(output), workers=workers))
                    seconds[contestant].append(_seconds_per_image(output, workers))
        median = {contestant: statistics.median(values) for contestant, values in seconds.items()}
        yield at_most(
            "job on Ray vs a plain loop, both on 2 cores, warm", 1.15, median["ray"] / median["plain_loop"], **median
        )
        yield at_least("2 workers vs 1", 1.8, median["ray_one_worker"] / median["ray"], **median)
        yield _memory(folder, weights)


def _memory(folder: Path, weights: str) -> Claim:
    """Peak memory of a worker over its first 16 shards, and how far 64 more raise it."""
    few, many = (
        TranslateConfig(
            weights=weights, input=_dataset(folder / f"source-{n}", n), output=str(folder / f"memory-{n}"), workers=1
        )
        for n in (16, 64)
    )
    first = peak_bytes(partial(_translate_all, few), partial(_load, few))
    few = few.model_copy(update={"output": f"{few.output}-again"})
    more = peak_bytes(partial(_translate_all, many), partial(_translate_all, few))
    claim = "worker's peak memory after 80 shards vs after 16"
    return at_most(claim, 1.1, (first + more) / first, mb_16_shards=first / 1e6, mb_more=more / 1e6)


def _seconds_per_image(output: Path, workers: int) -> float:
    """Between the ends of the first shards, one a worker, and the end of the last."""
    ends = sorted(path.stat().st_mtime for path in (output / "_dakpn/shards").glob("*.json"))
    return (ends[-1] - ends[workers - 1]) / ((len(ends) - workers) * _ROWS)


def _plain_loop(config: TranslateConfig) -> None:
    """The same work, shard by shard, in a pool of processes."""
    tasks = plan_translation(config).todo
    with multiprocessing.get_context("spawn").Pool(config.most_workers, _load, (config,)) as pool:
        list(pool.imap_unordered(_translate, tasks))


_work: ShardWork | None = None


def _load(config: TranslateConfig) -> None:
    global _work
    torch.set_num_threads(1)
    _work = ShardWork(Translator.load(config.weights), config)


def _translate(task: ShardTask) -> None:
    assert _work is not None
    _work.translate(task, input_rows(_work.source(task)))


def _translate_all(config: TranslateConfig) -> None:
    _load(config)
    for task in plan_translation(config).todo:
        _translate(task)


def _dataset(folder: Path, shards: int) -> str:
    """Packed images, without labels; one image under many keys, which gives each its own noise."""
    encoded = codec.encode_image(image(), "jpeg")
    entries = []
    for number in range(shards):
        name = shard_name(number, shards)
        rows = [Sample(f"{number}-{row}", encoded, f"{number}-{row}.jpg", None, None) for row in range(_ROWS)]
        written = write_shard(manifest.shard_uri(str(folder), name), rows)
        entries.append(ShardEntry(name=name, rows=_ROWS, sha256=written.sha256, bytes=written.bytes))
    manifest.write_index(str(folder), DatasetIndex(label_space=None, labelled=False, shards=entries))
    manifest.mark_success(str(folder))
    return str(folder)


def _weights(folder: Path) -> str:
    space = load_preset("camvid").label_space
    config = PredictorConfig(
        num_classes=space.num_classes,
        prediction_size=PREDICTION,
        network=SmallNetworkConfig(),
        head=HeadConfig(condition="encoder"),
        translation=TranslationConfig(),
        style=StyleConfig(kind="none"),
    )
    torch.manual_seed(0)
    predictor = KernelPredictor(config)
    torch.nn.init.normal_(predictor.head.weight)
    save_predictor(str(folder), predictor, space, "random weights of the benchmark")
    return str(folder)
