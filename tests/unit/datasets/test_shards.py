import io
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dakpn.datasets.formats.parquet import write_parquet
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard, shard_name
from dakpn.errors import DataError, StorageError

SAMPLES = [
    Sample(f"a/{i:03d}", bytes([i]) * 40, f"images/{i}.png", b"label%d" % i, f"labels/{i}.png") for i in range(70)
]


def encode_parquet(samples: Iterable[Sample], origin: str) -> bytes:
    buffer = io.BytesIO()
    write_parquet(buffer, samples, origin)
    return buffer.getvalue()


def write(folder: Path, table: pa.Table) -> str:
    pq.write_table(table, folder / "x.parquet")
    return str(folder / "x.parquet")


def test_samples_come_back_as_they_went_in(tmp_path: Path) -> None:
    bare = Sample("bare", b"image", "images/bare.png", None, None)
    (tmp_path / "x.parquet").write_bytes(encode_parquet([*SAMPLES, bare], "x"))
    assert list(read_shard(str(tmp_path / "x.parquet"))) == [*SAMPLES, bare]


def test_the_bytes_depend_on_the_samples_alone() -> None:
    assert encode_parquet(SAMPLES, "x") == encode_parquet(iter(SAMPLES), "x")
    assert encode_parquet(SAMPLES, "x") != encode_parquet(SAMPLES[::-1], "x")


def test_row_groups_are_small() -> None:
    assert pq.ParquetFile(io.BytesIO(encode_parquet(SAMPLES, "x"))).num_row_groups == 3
    large = [Sample(f"k{i}", bytes(5 * 2**20), "x.png", None, None) for i in range(4)]
    assert pq.ParquetFile(io.BytesIO(encode_parquet(large, "x"))).num_row_groups == 2


def test_the_schema_tells_hugging_face_of_the_images() -> None:
    schema = pq.read_schema(io.BytesIO(encode_parquet(SAMPLES, "x")))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    image = {"_type": "Image"}
    assert features == {"key": {"dtype": "string", "_type": "Value"}, "image": image, "label": image}
    encoded = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # exactly datasets.Image's storage type
    assert [(f.name, f.type, f.nullable) for f in schema] == [
        ("key", pa.string(), True),
        ("image", encoded, True),
        ("label", encoded, True),
    ]


def test_unsafe_and_repeated_keys_are_refused_in_both_directions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the key 'a/000' twice"):
        encode_parquet([SAMPLES[0], SAMPLES[0]], "x")
    rows = [{"key": "../x", "image": {"bytes": b"x", "path": "x.png"}}]
    with pytest.raises(DataError, match=r"x\.parquet: the name '\.\./x' is not a plain relative path"):
        list(read_shard(write(tmp_path, pa.Table.from_pylist(rows))))
    rows = [{"key": "x", "image": {"bytes": b"x", "path": "/etc/x.png"}}]
    with pytest.raises(DataError, match=r"'/etc/x\.png' is not a plain relative path"):
        list(read_shard(write(tmp_path, pa.Table.from_pylist(rows))))


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_shard_is_a_data_error(keep: float, tmp_path: Path) -> None:
    data = encode_parquet(SAMPLES, "x")
    (tmp_path / "x.parquet").write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"x\.parquet is not a readable Parquet file, or is damaged .*expected a shard"):
        list(read_shard(str(tmp_path / "x.parquet")))


def test_damage_in_the_middle_is_a_data_error(tmp_path: Path) -> None:
    data = bytearray(encode_parquet(SAMPLES, "x"))
    data[4:40] = b"\xff" * 36
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.parquet"):
        list(read_shard(str(tmp_path / "x.parquet")))


def test_missing_columns_and_rows_without_images_are_data_errors(tmp_path: Path) -> None:
    uri = write(tmp_path, pa.table({"key": ["a"], "image": [b"x"]}))
    with pytest.raises(
        DataError, match=r"has the columns key: string, image: binary; expected key: string, image: str"
    ):
        list(read_shard(uri))
    image = pa.array([None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    with pytest.raises(DataError, match=r"row with key 'a' that lacks"):
        list(read_shard(write(tmp_path, pa.table({"key": ["a"], "image": image}))))


def test_a_missing_shard_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nothing\.parquet: it does not exist"):
        list(read_shard(str(tmp_path / "nothing.parquet")))


def test_names_have_five_digits() -> None:
    assert shard_name(3, 8) == "train-00003-of-00008"
    with pytest.raises(ValueError, match="got shard 8 of 8"):
        shard_name(8, 8)
