"""Training samples prepared by Ray Data: read, shuffled, decoded and cut by tasks on every node of the cluster.

A stream's portions (see `dakpn.datasets.stream`) become the rows of a Ray dataset. One operator reads a portion's
shards and puts its samples in order, in small blocks; the next makes each block's arrays. Ray keeps the order of
blocks, so that the trainer sees the very stream that threads of its own process would give it, whichever node did the
work.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data

from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import Arrays, Numbered, Portion, Stream, stacked

READER_CPUS = 0.25
"""Logical CPUs of a task that reads: it waits for storage more than it computes."""
_CPUS_A_READER = 8
_MOST_READERS = 8
PREPARER_CPUS = 1.0
"""Logical CPUs of a task that decodes."""
STREAMS = 2
_BLOCK_BYTES = 8 * 2**20
"""Of encoded images that one task prepares: a few large ones, so that all CPUs have something to do."""
_PORTIONS_AT_ONCE = 512
"""After so many a new Ray dataset is started, which takes about a second."""


def stream_cpus(workers: int) -> float:
    """Logical CPUs without which the streams of so many workers would stand still."""
    return workers * STREAMS * READER_CPUS + PREPARER_CPUS


def stream_readers() -> int:
    """Portions of a stream that are read at the same time: each holds its shards in memory, and one is not enough for a
    storage that gives each reader a tenth of what sixteen cores decode."""
    return max(1, min(_MOST_READERS, int(ray.cluster_resources().get("CPU", 0)) // _CPUS_A_READER))


def prepared_on_ray(stream: Stream, prefetch_batches: int = 4) -> Iterator[Arrays]:
    """A `dakpn.datasets.stream.PreparedStream` of Ray's tasks.

    Args:
        stream: what to prepare.
        prefetch_batches: blocks of examples that are fetched ahead.
    """
    portions = stream.portions()
    while some := list(islice(portions, _PORTIONS_AT_ONCE)):
        yield from _prepared(stream, some, prefetch_batches)


def _prepared(stream: Stream, portions: list[Portion], prefetch_batches: int) -> Iterator[Arrays]:
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    context.memory_usage_poll_interval_s = None  # it reads /proc once a second in each task, for a figure nobody asks
    context.raise_original_map_exception = True  # what Ray wraps around it loses the reason on its way here

    def read(batch: dict[str, Any]) -> Iterator[pa.Table]:
        for number in batch["portion"]:
            yield from _blocks(stream.read(portions[number]))

    def prepare(block: pa.Table) -> Arrays:
        rows = zip(*(column.to_pylist() for column in block.columns), strict=True)
        return stacked([stream.example(Numbered(number, Sample(*sample), shard)) for number, shard, *sample in rows])

    numbers = [{"portion": number} for number in range(len(portions))]
    with ray.data.DataContext.current(context):  # a dataset keeps what it was made under; others keep theirs
        dataset = (
            ray.data.from_items(numbers, override_num_blocks=len(portions))
            .map_batches(read, batch_size=1, num_cpus=READER_CPUS, concurrency=stream_readers())  # pyright: ignore[reportArgumentType]
            .map_batches(prepare, batch_size=None, batch_format="pyarrow", num_cpus=PREPARER_CPUS)  # pyright: ignore[reportArgumentType]
        )
    blocks = dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=prefetch_batches)
    return cast(Iterator[Arrays], iter(blocks))


def _blocks(samples: Iterator[Numbered]) -> Iterator[pa.Table]:
    """Single rows; Ray joins them to blocks of `_BLOCK_BYTES`."""
    for number, sample, shard in samples:
        row = (number, shard, sample.key, sample.image, sample.image_path, sample.label, sample.label_path)
        arrays = [pa.array([value], field.type) for value, field in zip(row, _SCHEMA, strict=True)]
        yield pa.Table.from_arrays(arrays, schema=_SCHEMA)


_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("shard", pa.string()),
        ("key", pa.string()),
        ("image", pa.large_binary()),
        ("image_path", pa.string()),
        ("label", pa.large_binary()),
        ("label_path", pa.string()),
    ]
)
