"""The codecs against Pillow alone, on a GTA5-sized picture: decoding, encoding, and the way down to low-res."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import Claim, alternate, at_least, at_most
from benchmarks.scenes import PREDICTION, image
from dakpn.images import codec

_ROUNDS = 7
_PILLOW_ROUNDS = 3  # half a minute in all, most of it Pillow's PNG encoder


def run() -> Iterator[Claim]:
    """Ratios of CPU time, Pillow's over ours, and of bytes, ours over Pillow's."""
    pixels = image()
    encoded = {"PNG": _pillow_encode(pixels, "PNG"), "JPEG": _pillow_encode(pixels, "JPEG", quality=95, subsampling=0)}
    yield from _png_encoding(pixels, len(encoded["PNG"]))
    yield _decoding("PNG decode vs Pillow, file with Pillow's filters", 1.5, encoded["PNG"])
    yield _decoding("PNG decode vs Pillow, our own file", 2.0, codec.encode_image(pixels, "png"))
    yield _decoding("JPEG decode vs Pillow", 1.0, encoded["JPEG"])
    yield _resizing(pixels)


def _png_encoding(pixels: NDArray[np.uint8], pillow_bytes: int) -> Iterator[Claim]:
    ours = partial(codec.encode_image, pixels, "png")
    seconds = alternate({"pillow": partial(_pillow_encode, pixels, "PNG"), "ours": ours}, _PILLOW_ROUNDS, warm_up=False)
    details = {"seconds": seconds, "writer": codec.writer_name("png")}
    yield at_least("PNG encode vs Pillow's default", 20, seconds["pillow"] / seconds["ours"], **details)
    sizes = {"pillow": pillow_bytes, "ours": len(ours())}
    yield at_most("PNG size vs Pillow's default", 1.15, sizes["ours"] / sizes["pillow"], bytes=sizes)


def _decoding(claim: str, target: float, data: bytes) -> Claim:
    assert np.array_equal(_pillow_decode(data), codec.decode_image(data, claim))
    contestants = {"pillow": partial(_pillow_decode, data), "ours": partial(codec.decode_image, data, claim)}
    seconds = alternate(contestants, _ROUNDS)
    return at_least(claim, target, seconds["pillow"] / seconds["ours"], seconds=seconds, bytes=len(data))


def _resizing(pixels: NDArray[np.uint8]) -> Claim:
    contestants = {
        "pillow bicubic": partial(_pillow_resize, pixels, Image.Resampling.BICUBIC),
        "pillow bilinear": partial(_pillow_resize, pixels, Image.Resampling.BILINEAR),
        "ours": partial(codec.resize_image, pixels, PREDICTION),
    }
    seconds = alternate(contestants, _ROUNDS)
    ratio = seconds["pillow bilinear"] / seconds["ours"]
    return at_least("low-res resize vs Pillow's plain bilinear", 1.5, ratio, seconds=seconds)


def _pillow_encode(pixels: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _pillow_decode(data: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(data)))


def _pillow_resize(pixels: NDArray[np.uint8], resampling: Image.Resampling) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(pixels).resize(PREDICTION[::-1], resampling))


if __name__ == "__main__":
    for line in run():
        print(f"{line.claim:<60} target {line.target:>8}   measured {line.measured:6.2f}   {line.details}")
