"""How much memory a worker takes, and how long a job will: from the index and a measured sample of a few images."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from dakpn.config import TranslateConfig
from dakpn.data import manifest
from dakpn.data.manifest import DatasetIndex
from dakpn.inference.job_plan import TranslationPlan
from dakpn.inference.row_pipeline import translate_rows
from dakpn.inference.shard_job import ShardTask
from dakpn.inference.shard_rows import InputRow, input_rows
from dakpn.inference.translator import Translator, device_at_hand

_BASE_BYTES = 700_000_000
"""A worker that has loaded torch, numba's kernels and Ray."""
_BYTES_PER_PIXEL = 30
"""Of the function's buffers for `max_pixels_in_flight`."""
_SHARD_COPIES = 3
"""Of the output's shard: as it is put together, whole, and on its way to storage; PNGs may grow."""
_SAMPLED_SHARDS, _FEWEST_ROWS = 3, 4


def worker_bytes(config: TranslateConfig, index: DatasetIndex) -> int:
    """Estimate the memory of one worker; the size of the dataset does not matter, that of its largest shard does."""
    largest = 0
    if index.format != "folder" and config.content == "pixels":  # files of a folder are written one at a time
        largest = max((shard.bytes for shard in index.shards), default=0)
    images = (2 * (config.decode_workers + 1) + config.encoder_batch) * 3 * config.max_pixels_in_flight
    buffers = _BYTES_PER_PIXEL * config.max_pixels_in_flight
    return _BASE_BYTES + _SHARD_COPIES * largest + 2 * config.prefetch_bytes + images + buffers


class Estimate(NamedTuple):
    """What is left of a job.

    Attributes:
        shards, images: To be translated.
        bytes: Of the input's shards.
        images_per_second: Of one worker on this machine.
        hours: Of the job with all its workers.
        cost: At `price_per_worker_hour`.
        bad: Rows of the sample that would go to the quarantine.
        sampled: Rows that were measured.
    """

    shards: int
    images: int
    bytes: int
    images_per_second: float
    hours: float
    cost: float
    bad: int
    sampled: int


def estimate(plan: TranslationPlan) -> Estimate:
    """Translate a few images of shards that are left, and extrapolate; nothing is written.

    Raises:
        DataError: A shard of the sample is damaged.
        StorageError: It cannot be read.
    """
    config, todo = plan.config, plan.todo
    images, size = sum(task.rows for task in todo), sum(task.bytes for task in todo)
    if not todo:
        return Estimate(0, 0, 0, 0.0, 0.0, 0.0, 0, 0)
    translator = Translator.of_job(config, plan.index, device_at_hand(config))
    seconds, bad, sampled = 0.0, 0, 0
    for number, task in enumerate(_spread(todo)):
        rows = _read(config, task)
        if number == 0:
            _translate(translator, config, task, rows[:1])  # compiles the kernels
        start = time.perf_counter()
        bad += _translate(translator, config, task, rows)
        seconds += time.perf_counter() - start
        sampled += len(rows)
    rate = sampled / seconds if sampled else 0.0
    worker_hours = images / rate / 3600 if rate else 0.0
    workers = max(1, min(config.most_workers, len(todo)))
    cost = worker_hours * config.price_per_worker_hour
    return Estimate(len(todo), images, size, rate, worker_hours / workers, cost, bad, sampled)


def _spread(todo: Sequence[ShardTask]) -> Sequence[ShardTask]:
    return todo[:: max(1, len(todo) // _SAMPLED_SHARDS)][:_SAMPLED_SHARDS]


def _read(config: TranslateConfig, task: ShardTask) -> list[InputRow]:
    rows = input_rows(manifest.shard_uri(config.input, task.name, task.format))
    return list(islice(rows, max(_FEWEST_ROWS, config.encoder_batch)))


def _translate(translator: Translator, config: TranslateConfig, task: ShardTask, rows: Sequence[InputRow]) -> int:
    made = translate_rows(translator, config, rows, task.name, threads=config.decode_workers)
    return sum(row.quarantined is not None for row in made)
