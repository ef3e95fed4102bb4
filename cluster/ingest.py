"""Ray Data streams of shards: encoded bytes travel, the consumer decodes."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
import ray.data

from dakpn.data import manifest
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.data.stream import ShardReader

READER_CPUS = 0.5
"""Logical CPUs of a read task: it waits for storage more than it computes."""
_BLOCK_ROWS = 64
_BLOCK_BYTES = 16 * 2**20  # so that blocks of large images, too, travel while the next one is read


def ray_shard_reader(dataset_uri: str, *, labelled: bool, prefetch_batches: int) -> ShardReader:
    """A `ShardReader` whose reads run as Ray tasks ahead of the consumer, in the order asked for.

    Args:
        dataset_uri: of a packed dataset.
        labelled: False leaves the labels on storage's side of the stream.
        prefetch_batches: blocks fetched ahead.
    """
    shard_format = manifest.read_index(dataset_uri).format

    def read(names: Sequence[str]) -> Iterator[Sample]:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        uris = [manifest.shard_uri(dataset_uri, name, shard_format) for name in names]
        items = [{"uri": uri, "labelled": labelled} for uri in uris]
        blocks = (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map_batches(_read_blocks, batch_size=1, num_cpus=READER_CPUS)  # pyright: ignore[reportArgumentType]
            .iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=prefetch_batches)
        )
        for block in blocks:
            columns = (column.to_pylist() for column in cast(pa.Table, block).select(_BLOCK_SCHEMA.names).columns)
            yield from map(Sample, *columns)

    return read


def _read_blocks(batch: dict[str, Any]) -> Iterator[pa.Table]:
    labelled = bool(batch["labelled"][0])
    rows: list[tuple[str | bytes | None, ...]] = []
    size = 0
    for sample in read_shard(str(batch["uri"][0])):
        label = (sample.label, sample.label_path) if labelled else (None, None)
        rows.append((sample.key, sample.image, sample.image_path, *label))
        size += len(sample.image) + len(label[0] or b"")
        if len(rows) == _BLOCK_ROWS or size >= _BLOCK_BYTES:
            yield _to_block(rows)
            rows, size = [], 0
    if rows:
        yield _to_block(rows)


def _to_block(rows: Sequence[tuple[str | bytes | None, ...]]) -> pa.Table:
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _BLOCK_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=_BLOCK_SCHEMA)


_BLOCK_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.large_binary()),
        ("image_path", pa.string()),
        ("label", pa.large_binary()),
        ("label_path", pa.string()),
    ]
)
