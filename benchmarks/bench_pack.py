"""Packing and converting against copying the same files and hashing what has to be hashed."""

import hashlib
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.datasets import workspace, write_scenes
from benchmarks.measure import Claim, alternate, at_least
from benchmarks.scenes import GTA5
from dakpn import storage
from dakpn.images import codec
from dakpn.images.header import ImageFormat
from dakpn.sources.pack import PackRequest, finish_pack, pack_shard, plan_pack
from dakpn.sources.preset import load_preset

_ROWS = 24
_ROUNDS = 5
_IMAGES: dict[ImageFormat, int] = {"png": 72, "jpeg": 240}


def run() -> Iterator[Claim]:
    """Ratios of CPU time, copy over pack. Files and shards each get a digest, so both are in the copy's hashing."""
    for kind, count in _IMAGES.items():
        with workspace() as folder:
            source, packed, out = (
                write_scenes(folder / "source", count, GTA5, kind),
                folder / "packed",
                folder / "out",
            )
            _pack(packed, source=str(source), preset=load_preset("camvid"))
            work = {
                "copy and hash": partial(_copy, source, decode=False),
                "copy, hash and decode": partial(_copy, source, decode=True),
                "pack, headers": partial(_pack, source=str(source), preset=load_preset("camvid"), check="headers"),
                "pack, pixels": partial(_pack, source=str(source), preset=load_preset("camvid")),
                "to webdataset": partial(_pack, source=str(packed), format="webdataset"),
            }
            seconds = alternate({name: partial(_afresh, act, out) for name, act in work.items()}, _ROUNDS)
        copied, decoded = seconds["copy and hash"], seconds["copy, hash and decode"]
        yield at_least(f"pack by headers vs copy + hashing, {kind}", 0.8, copied / seconds["pack, headers"], **seconds)
        yield at_least(f"convert a packed dataset vs copy + hashing, {kind}", 0.8, copied / seconds["to webdataset"])
        yield at_least(f"pack vs copy + hashing + decoding, {kind}", 0.8, decoded / seconds["pack, pixels"])


def _afresh(act: Any, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    act(out)


def _pack(out: Path, **request: Any) -> None:
    rows = None if (Path(request["source"]) / "_dakpn").exists() else _ROWS
    plan = plan_pack(PackRequest(output=str(out), rows_per_shard=rows, **request))
    finish_pack(plan, [pack_shard(job, threads=1) for job in plan.todo])


def _copy(source: Path, out: Path, *, decode: bool) -> None:
    """Files into files of a shard's size, on the disk before the next one begins, as packing leaves them."""
    images = sorted((source / "images").iterdir())
    for start in range(0, len(images), _ROWS):
        parts: list[bytes] = []
        for image in images[start : start + _ROWS]:
            pair = image.read_bytes(), (source / "labels" / f"{image.stem}.png").read_bytes()
            parts += pair
            for data in pair:
                hashlib.sha256(data).digest()
            if decode:
                codec.decode_image(pair[0], image.name)
                codec.decode_label(pair[1], image.name)
        shard = b"".join(parts)
        hashlib.sha256(shard).digest()
        storage.write_bytes(str(out / f"{start:05d}"), shard)
