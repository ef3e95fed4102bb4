"""A dataset of stored params: what it was made from, and its rows in order or by position.

Beside what every dataset has, its folder OUT holds

    OUT/_dakpn/params.json      `ParamsRecord`
    OUT/weights                 a copy of the weights that apply the params
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn import storage
from dakpn.config import ParamsPrecision
from dakpn.datasets import manifest
from dakpn.datasets.formats.parquet import open_parquet
from dakpn.errors import DataError
from dakpn.translation.stored_params import PARAMS_SCHEMA, ParamsRow, read_params_shard, require_params, to_params_row
from dakpn.wording import counted

_CACHE_BYTES = 32 * 2**20


class ParamsRecord(BaseModel):
    """From what the params of a dataset were made.

    Attributes:
        input: URI of the packed dataset.
        input_digest: its `DatasetIndex.digest`.
        weights: digest of the weights.
        precision: of the stored logits.
        draw, draws: number of the first look that is listed with each image, and how many are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    input_digest: str
    weights: str
    precision: ParamsPrecision
    draw: int
    draws: int


def write_params_record(dataset_uri: str, record: ParamsRecord) -> None:
    """Write the record of a dataset, before `_SUCCESS`. Raises `StorageError`."""
    storage.write_json(_record_uri(dataset_uri), record.model_dump())


def read_params_record(dataset_uri: str) -> ParamsRecord:
    """Return the record of a dataset.

    Raises:
        DataError: It is damaged.
        StorageError: It does not exist or cannot be read.
    """
    uri = _record_uri(dataset_uri)
    try:
        return ParamsRecord.model_validate(storage.read_json(uri))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise DataError(f"{uri} is damaged: {place}: {first['msg']}; translate again") from error


def weights_uri(dataset_uri: str) -> str:
    """Return where the copy of the weights lies."""
    return storage.join(dataset_uri, "weights")


def read_params(dataset_uri: str) -> Iterator[ParamsRow]:
    """Yield the rows of a dataset of params in their order, holding a few at a time.

    Raises:
        UsageError: There is no finished dataset, or it holds images.
        DataError: Something of it is damaged.
        StorageError: It cannot be read.
    """
    for shard in manifest.read_index(dataset_uri, "params").shards:
        yield from read_params_shard(manifest.shard_uri(dataset_uri, shard.name))


class ParamsReader:
    """Rows by shard and position. What is read for a row is its row group; a copy for another process holds nothing.

    Args:
        uri: of the dataset.
        cache_bytes: of rows, held at most.
    """

    def __init__(self, uri: str, cache_bytes: int = _CACHE_BYTES) -> None:
        self.uri, self.cache_bytes = uri, cache_bytes
        self._open: dict[str, tuple[pq.FileMetaData, list[int]]] = {}
        self._groups: OrderedDict[tuple[str, int], list[ParamsRow]] = OrderedDict()
        self._held_bytes = 0

    def __reduce__(self) -> tuple[type["ParamsReader"], tuple[str, int]]:
        return ParamsReader, (self.uri, self.cache_bytes)

    def row(self, shard: str, position: int) -> ParamsRow:
        """Return a row by its position in the shard of params, from 0.

        Raises:
            StorageError: The shard does not exist or cannot be read.
            DataError: It is damaged, or has no such row.
        """
        metadata, starts = self._opened(shard)
        if not 0 <= position < starts[-1]:
            raise DataError(
                f"{self._shard_uri(shard)} has {counted(starts[-1], 'row')}, expected one at position {position} as "
                "the index says; copy it again"
            )
        group = bisect_right(starts, position) - 1
        if (shard, group) not in self._groups:
            self._read(shard, group, metadata)
        self._groups.move_to_end((shard, group))
        return self._groups[shard, group][position - starts[group]]

    def positions(self, shard: str) -> list[int]:
        """Return the positions that the rows of a shard have in the input's shard. Raises like `row`."""
        uri = self._shard_uri(shard)
        with open_parquet(uri) as file:
            require_params(file, uri)
            return file.read(["position"], use_threads=False).column("position").to_pylist()

    def _opened(self, shard: str) -> tuple[pq.FileMetaData, list[int]]:
        if shard not in self._open:
            uri = self._shard_uri(shard)
            with open_parquet(uri) as file:
                require_params(file, uri)
                sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
                self._open[shard] = file.metadata, [0, *accumulate(sizes)]
        return self._open[shard]

    def _read(self, shard: str, group: int, metadata: pq.FileMetaData) -> None:
        uri = self._shard_uri(shard)
        with open_parquet(uri, metadata) as file:
            columns = file.read_row_group(group, PARAMS_SCHEMA.names, use_threads=False).to_pylist()
        self._groups[shard, group] = rows = [to_params_row(row, uri) for row in columns]
        self._held_bytes += sum(row.bytes for row in rows)
        while self._held_bytes > self.cache_bytes and len(self._groups) > 1:
            self._held_bytes -= sum(row.bytes for row in self._groups.popitem(last=False)[1])

    def _shard_uri(self, shard: str) -> str:
        return manifest.shard_uri(self.uri, shard)


def _record_uri(dataset_uri: str) -> str:
    return storage.join(dataset_uri, manifest.FOLDER, "params.json")
