"""How much memory a worker takes, and how long a job will: from the index and a measured sample of a few images.

Nothing here loads torch; what measures the sample does (`job_sample`).
"""

from typing import NamedTuple

from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex
from dakpn.translation.job_plan import TranslationPlan

_BASE_BYTES = 700_000_000
"""A worker that has loaded torch, numba's kernels and Ray."""
_BYTES_PER_PIXEL = 30
"""Of the function's buffers for `max_pixels_in_flight`."""
_SHARD_COPIES = 3
"""Of the output's shard: as it is put together, whole, and on its way to storage; PNGs may grow."""


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


class Sample(NamedTuple):
    """A few images of a job that were translated, to see how long they take.

    Attributes:
        rows: That were measured.
        bad: Those of them that would go to the quarantine.
        seconds: That they took, decoding and encoding included.
    """

    rows: int
    bad: int
    seconds: float


def estimate(plan: TranslationPlan, sample: Sample) -> Estimate:
    """Extrapolate from a sample of a job to all that is left of it; see `job_sample.measure`."""
    config, todo = plan.config, plan.todo
    images, size = sum(task.rows for task in todo), sum(task.bytes for task in todo)
    rate = sample.rows / sample.seconds if sample.rows else 0.0
    worker_hours = images / rate / 3600 if rate else 0.0
    workers = max(1, min(config.most_workers, len(todo)))
    cost = worker_hours * config.price_per_worker_hour
    return Estimate(len(todo), images, size, rate, worker_hours / workers, cost, sample.bad, sample.rows)
