"""What is stored of an image instead of its pixels: all that its params depend on beside weights and label.

It is tens to hundreds of times smaller than the image, and good for every draw, style and strength.

A shard is a Parquet file; its rows are those of the input's shard, in order, but for quarantined ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dakpn.config import ParamsPrecision
from dakpn.datasets.formats import WrittenShard
from dakpn.datasets.formats.base import HashedFile, write_object
from dakpn.datasets.formats.parquet import open_parquet, parquet_rows
from dakpn.errors import DataError

_LOGITS = pa.struct(
    [
        ("precision", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("data", pa.binary()),
        ("scale", pa.list_(pa.float32())),
        ("offset", pa.list_(pa.float32())),
    ]
)
_LOOK = pa.struct([("style", pa.string()), ("refinement", pa.float64()), ("noise_seed", pa.uint64())])
PARAMS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("position", pa.int32()),
        ("source_sha256", pa.string()),
        ("label_sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("moments", pa.list_(pa.float32())),
        ("logits", _LOGITS),
        ("looks", pa.list_(_LOOK)),
    ]
)
"""Arrow schema of a shard."""
_ROW_GROUP_ROWS = 32
_DTYPES: dict[ParamsPrecision, str] = {"float32": "<f4", "float16": "<f2", "uint8": "|u1"}
LARGEST_HALF = 65504
LEVELS = 255


@dataclass(frozen=True, slots=True)
class StoredLogits:
    """An encoder's logits [C, h', w'], rounded.

    Attributes:
        precision: what they are rounded to.
        shape: (C, h', w').
        data: row after row: little-endian floats, or uint8.
        scale, offset: of uint8, for each class: the logit is `offset + scale * data`. None with floats.
    """

    precision: ParamsPrecision
    shape: tuple[int, ...]
    data: bytes
    scale: tuple[float, ...] | None
    offset: tuple[float, ...] | None

    @classmethod
    def of(cls, logits: NDArray[np.float32], precision: ParamsPrecision) -> Self:
        """Round finite logits float32 [C, h', w']; uint8 is off by at most 1/510 of a class's range in the image."""
        if precision != "uint8":
            bounded = logits.clip(-LARGEST_HALF, LARGEST_HALF) if precision == "float16" else logits
            return cls(precision, logits.shape, bounded.astype(_DTYPES[precision]).tobytes(), None, None)
        low, high = logits.min((1, 2)), logits.max((1, 2))
        scale = ((high - low) / LEVELS).astype(np.float32)
        steps = (logits - low[:, None, None]) / np.where(scale > 0, scale, 1)[:, None, None]
        data = steps.round().astype(np.uint8).tobytes()
        return cls(precision, logits.shape, data, tuple(scale.tolist()), tuple(low.tolist()))

    def restored(self) -> NDArray[np.float32]:
        """Return the rounded logits float32 [C, h', w']."""
        stored = np.frombuffer(self.data, _DTYPES[self.precision]).reshape(self.shape).astype(np.float32)
        if self.scale is None or self.offset is None:
            return stored
        scale, offset = (np.array(values, np.float32)[:, None, None] for values in (self.scale, self.offset))
        return (offset + scale * stored).astype(np.float32)

    def steps(self) -> NDArray[np.float32]:
        """Return the distance between neighboring values that can be stored, at each of these, [C, h', w']."""
        if self.scale is not None:
            return np.broadcast_to(np.array(self.scale, np.float32)[:, None, None], self.shape)
        stored = np.frombuffer(self.data, _DTYPES[self.precision]).reshape(self.shape)
        return np.abs(np.spacing(stored)).astype(np.float32)


class StoredLook(NamedTuple):
    """What a draw gives to an image.

    Attributes:
        style: key of the real image whose style it takes; None without a style bank.
        refinement: strength of the head's params on top, 0..1.
        noise_seed: 64 bits.
    """

    style: str | None
    refinement: float
    noise_seed: int


@dataclass(frozen=True, slots=True)
class ParamsRow:
    """What is stored of an image.

    Attributes:
        key: of the image.
        position: of its row in the input's shard, from 0.
        source_sha256, label_sha256: of the encoded image and label that this is of, in hexadecimal.
        height, width: of the image, in pixels.
        moments: of the image's colors, float32 [6 + 7 C] as `ColorMoments.flat` has them; None without a style bank.
        logits: of the encoder; None where the params depend on the label alone.
        looks: what the draws give that were asked for; a reader may draw others.
    """

    key: str
    position: int
    source_sha256: str
    label_sha256: str | None
    height: int
    width: int
    moments: tuple[float, ...] | None
    logits: StoredLogits | None
    looks: tuple[StoredLook, ...]

    @property
    def bytes(self) -> int:
        """About the memory that it takes."""
        return 1000 + (0 if self.logits is None else len(self.logits.data))


def write_params_shard(uri: str, rows: Iterable[ParamsRow]) -> WrittenShard:
    """Write a shard of these rows in their order, holding a few at a time; equal rows give equal bytes.

    Raises:
        StorageError: It cannot be written.
    """

    def write(file: HashedFile) -> None:
        left = iter(rows)
        with pq.ParquetWriter(file, PARAMS_SCHEMA, compression="zstd", write_statistics=False) as writer:
            while group := list(islice(left, _ROW_GROUP_ROWS)):
                writer.write_table(pa.Table.from_pylist([_to_columns(row) for row in group], PARAMS_SCHEMA))

    return write_object(uri, write)


def read_params_shard(uri: str) -> Iterator[ParamsRow]:
    """Yield the rows of a shard in their order, holding a few at a time.

    Raises:
        StorageError: It does not exist or cannot be read.
        DataError: It is damaged, or no shard of params.
    """
    with open_parquet(uri) as file:
        require_params(file, uri)
        for row in parquet_rows(file, PARAMS_SCHEMA.names):
            yield to_params_row(row, uri)


def require_params(file: pq.ParquetFile, uri: str) -> None:
    """Refuse an open file that is no shard of params. Raises `DataError`."""
    if not file.schema_arrow.equals(PARAMS_SCHEMA):
        raise DataError(
            f"{uri} has the columns {', '.join(file.schema_arrow.names)}; expected those of stored params, "
            f"{', '.join(PARAMS_SCHEMA.names)}: translate with content=params again"
        )


def to_params_row(row: dict[str, Any], uri: str) -> ParamsRow:
    """Return the row that these columns hold. Raises `DataError` if something of it is missing or does not fit."""
    try:
        logits = None if row["logits"] is None else _to_logits(row["logits"])
        moments = None if row["moments"] is None else tuple(row["moments"])
        looks = tuple(StoredLook(**look) for look in row["looks"])
        return ParamsRow(**{**row, "moments": moments, "logits": logits, "looks": looks})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{uri}: the params of {row['key']!r} are damaged ({error}); translate again") from error


def _to_logits(columns: dict[str, Any]) -> StoredLogits:
    shape = tuple(columns["shape"])
    scale, offset = (None if columns[name] is None else tuple(columns[name]) for name in ("scale", "offset"))
    kind = np.dtype(_DTYPES[columns["precision"]])
    expected, per_class = int(np.prod(shape)) * kind.itemsize, shape[0] if kind == np.uint8 else None
    counts = {None if values is None else len(values) for values in (scale, offset)}
    if len(shape) != 3 or len(columns["data"]) != expected or counts != {per_class}:
        raise ValueError(f"{len(columns['data'])} bytes of logits, expected {expected} for the shape {list(shape)}")
    return StoredLogits(columns["precision"], shape, columns["data"], scale, offset)


def _to_columns(row: ParamsRow) -> dict[str, Any]:
    return {**asdict(row), "looks": [look._asdict() for look in row.looks]}
