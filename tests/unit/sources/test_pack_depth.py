"""What packing looks at: every pixel, the headers alone, or nothing where a digest proves it was looked at before."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dakpn.datasets import manifest
from dakpn.datasets.formats import FormatName
from dakpn.datasets.manifest import DatasetIndex
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError
from dakpn.images import codec
from dakpn.images.codec import encode_image, encode_label
from dakpn.sources import pack_sources
from dakpn.sources.pack import PackRequest, finish_pack, pack_dataset, pack_shard, plan_pack
from dakpn.sources.preset import load_preset
from dakpn.sources.row_checks import CheckDepth
from tests.scenes import truncate, write_shard

CAMVID = load_preset("camvid")


def pack(source: Path, out: Path, check: CheckDepth = "headers", **more) -> DatasetIndex:
    preset = None if (source / "_dakpn").exists() else CAMVID
    plan = plan_pack(PackRequest(str(source), str(out), preset, check=check, **more))
    return finish_pack(plan, [pack_shard(job) for job in plan.todo])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is decoded from now on."""
    names: list[str] = []
    for kind in ("decode_image", "decode_label"):
        decode = getattr(codec, kind)
        monkeypatch.setattr(codec, kind, lambda data, name, decode=decode: names.append(name) or decode(data, name))
    return names


def test_by_headers_nothing_is_decoded_and_the_shards_are_the_same(make_dataset, tmp_path: Path, decoded) -> None:
    root = make_dataset(7)
    index = pack(root, tmp_path / "headers")
    assert decoded == []
    whole = pack(root, tmp_path / "pixels", "pixels")
    assert len(decoded) == 14
    assert index == whole
    for name in (shard.name for shard in index.shards):
        assert manifest.read_rows(str(tmp_path / "headers"), name) == manifest.read_rows(str(tmp_path / "pixels"), name)
    for depth in get_args(CheckDepth):
        assert manifest.read_run(str(tmp_path / depth))["checked"] == depth


def cut_image(root: Path) -> Path:
    truncate(root / "images/train/001.png")
    return root / "images/train/001.png"


def text_for_image(root: Path) -> Path:
    (root / "images/train/001.png").write_text("no image")
    return root / "images/train/001.png"


def label_of_another_size(root: Path) -> Path:
    (root / "labels/train/001.png").write_bytes(encode_label(np.zeros((12, 15), np.uint8)))
    return root / "labels/train/001.png"


def label_in_colors(root: Path) -> Path:
    (root / "labels/train/001.png").write_bytes(encode_image(np.zeros((12, 16, 3), np.uint8), "png"))
    return root / "labels/train/001.png"


def jpeg_label(root: Path) -> Path:
    (root / "labels/train/001.png").write_bytes(encode_image(np.zeros((12, 16, 3), np.uint8), "jpeg"))
    return root / "labels/train/001.png"


@pytest.mark.parametrize("damage", [cut_image, text_for_image, label_of_another_size, label_in_colors, jpeg_label])
def test_what_headers_tell_is_refused_by_headers_too(make_dataset, tmp_path: Path, damage) -> None:
    root = make_dataset(3)
    path = damage(root)
    with pytest.raises(DataError, match=path.name) as caught:
        pack(root, tmp_path / "out")
    assert str(path) in str(caught.value)


def test_other_depths_do_not_share_finished_shards(make_dataset, tmp_path: Path, decoded) -> None:
    root, out = make_dataset(4), tmp_path / "out"
    pack(root, out, "headers", rows_per_shard=2)
    (out / "_SUCCESS").unlink()
    pack(root, out, "pixels", rows_per_shard=2)
    assert len(decoded) == 8
    assert manifest.read_run(str(out))["checked"] == "pixels"


@pytest.mark.parametrize("kind", get_args(FormatName))
def test_a_packed_row_is_not_decoded_again(kind: FormatName, make_dataset, tmp_path: Path, decoded) -> None:
    pack_dataset(make_dataset(7), str(tmp_path / "a"), CAMVID, None, 3, None, kind)
    decoded.clear()
    index = pack(tmp_path / "a", tmp_path / "b", "pixels", rows_per_shard=2)
    assert decoded == []
    sources = [r for s in manifest.read_index(str(tmp_path / "a")).shards for r in records(tmp_path / "a", s.name)]
    copies = [r for s in index.shards for r in records(tmp_path / "b", s.name)]
    assert [{**r, "source": ""} for r in copies] == [{**r, "source": ""} for r in sources]


def records(dataset: Path, name: str) -> list[dict]:
    return [row.model_dump() for row in manifest.read_rows(str(dataset), name)]


def test_a_packed_row_without_its_digest_is_decoded(make_dataset, tmp_path: Path, decoded) -> None:
    index = pack_dataset(make_dataset(3), str(tmp_path / "a"), CAMVID, None, None)
    (tmp_path / f"a/_dakpn/manifest/{index.shards[0].name}.parquet").unlink()
    decoded.clear()
    pack(tmp_path / "a", tmp_path / "b", "pixels")
    assert len(decoded) == 6


@pytest.mark.parametrize("field", ["image", "label"])
def test_a_packed_row_that_changed_since_is_decoded(field: str, make_dataset, tmp_path: Path) -> None:
    index = pack_dataset(make_dataset(3), str(tmp_path / "a"), CAMVID, None, None)
    shard = Path(manifest.shard_uri(str(tmp_path / "a"), index.shards[0].name))
    first, second, third = read_shard(str(shard))
    data = bytearray(getattr(second, field))
    data[len(data) // 2] ^= 1
    write_shard(shard, [first, replace(second, **{field: bytes(data)}), third])
    with pytest.raises(DataError, match=r"train/001: .*the PNG data is truncated or damaged"):
        pack(tmp_path / "a", tmp_path / "b", "pixels")


def test_a_copy_of_what_was_packed_by_headers_says_so(make_dataset, tmp_path: Path) -> None:
    pack(make_dataset(3), tmp_path / "a", "headers")
    pack(tmp_path / "a", tmp_path / "b", "pixels")
    assert manifest.read_run(str(tmp_path / "b"))["checked"] == "headers"


def test_a_shard_of_a_folder_ends_where_its_bytes_would_be_many(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_dataset(7)
    sizes = [
        sum((root / kind / f"train/{i:03d}.png").stat().st_size for kind in ("images", "labels")) for i in range(7)
    ]
    monkeypatch.setattr(pack_sources, "DEFAULT_BYTES", sum(sizes[:3]))
    rows = [shard.rows for shard in pack(root, tmp_path / "out").shards]
    assert rows[0] == 3
    assert sum(rows) == 7
    monkeypatch.setattr(pack_sources, "DEFAULT_BYTES", 1)
    assert [shard.rows for shard in pack(root, tmp_path / "single").shards] == [1] * 7
    assert [shard.rows for shard in pack(root, tmp_path / "chosen", rows_per_shard=5).shards] == [5, 2]
