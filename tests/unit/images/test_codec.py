import contextlib
import io
import struct
import warnings
import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dakpn.errors import DataError
from dakpn.images import codec

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (13, 17, 3), np.uint8)
SMOOTH = np.tile(np.linspace(0, 255, 17, dtype=np.uint8)[None, :, None], (13, 1, 3))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(bits: int, color: int, size: tuple[int, int], rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", size[1], size[0], bits, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


JPEG = codec.encode_image(SMOOTH, "jpeg")
PNG = codec.encode_image(IMAGE, "png")
LABEL = codec.encode_label(RNG.integers(0, 12, (13, 17), np.uint8))


def test_png_is_lossless_and_jpeg_close() -> None:
    assert np.array_equal(codec.decode_image(PNG, "x"), IMAGE)
    assert np.abs(codec.decode_image(JPEG, "x").astype(int) - SMOOTH).max() <= 6


@pytest.mark.parametrize(("data", "name"), [(PNG, "png"), (JPEG, "jpeg")])
def test_format_and_size_come_from_the_header(data: bytes, name: str) -> None:
    assert codec.image_format(data, "x") == name
    assert codec.image_size(data, "x") == (13, 17)


def test_progressive_and_subsampled_jpeg_decode_as_pillow_does() -> None:
    data = saved(Image.fromarray(IMAGE), "JPEG", progressive=True, subsampling="4:2:0")
    assert np.array_equal(codec.decode_image(data, "x"), np.array(Image.open(io.BytesIO(data))))


def test_jpeg_without_simplejpeg_has_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = codec.decode_image(JPEG, "x")
    monkeypatch.setattr(codec, "simplejpeg", None)
    assert np.array_equal(codec.decode_image(JPEG, "x"), fast)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_other_opaque_8_bit_images_become_rgb(mode: str) -> None:
    image = Image.fromarray(IMAGE).convert(mode)
    assert np.array_equal(codec.decode_image(saved(image), "x"), np.array(image.convert("RGB")))


def test_grey_jpeg_becomes_rgb() -> None:
    assert codec.decode_image(saved(Image.fromarray(IMAGE).convert("L"), "JPEG"), "x").shape == (13, 17, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparent_pixels_are_refused_and_pillow_stays_silent(mode: str) -> None:
    image = Image.fromarray(IMAGE).convert(mode)
    if "A" in mode:
        image.putalpha(254)
    options = {
        "P": {"transparency": b"\x80" * 256},
        "L": {"transparency": 0},
        "RGB": {"transparency": (1, 2, 3)},
    }
    if mode == "RGB":
        image.putpixel((0, 0), (1, 2, 3))
    if mode == "L":
        image.putpixel((0, 0), 0)
    data = saved(image, **options.get(mode, {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"a\.png: .*transparent pixels.*background"):
            codec.decode_image(data, "a.png")


@pytest.mark.parametrize("color", [0, 2])
def test_16_bit_images_are_refused(color: int) -> None:
    rows = b"".join(b"\0" + bytes(2 * (3 if color else 1) * 4) for _ in range(2))
    with pytest.raises(DataError, match=r"a\.png: got an image with 16 bits a channel, expected 8; convert"):
        codec.decode_image(png(16, color, (2, 4), rows), "a.png")


def test_cmyk_and_other_formats_are_refused() -> None:
    with pytest.raises(DataError, match=r"CMYK"):
        codec.decode_image(saved(Image.fromarray(IMAGE).convert("CMYK"), "JPEG"), "a.jpg")
    with pytest.raises(DataError, match=r"a\.gif: got a file that begins with b'GIF.*expected a PNG or JPEG"):
        codec.image_format(saved(Image.fromarray(IMAGE), "GIF"), "a.gif")
    with pytest.raises(DataError, match="an empty file"):
        codec.image_size(b"", "a.png")


def test_a_huge_header_is_refused_before_decoding_and_allowed_sizes_do_not_warn() -> None:
    with pytest.raises(DataError, match="40000 x 30000 pixels, expected at most 200000000"):
        codec.decode_image(png(8, 2, (30000, 40000), b""), "bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow alone warns at 95 Mpx
        assert codec.decode_label(png(1, 0, (9500, 10000), bytes(1251) * 9500), "x").shape == (9500, 10000)


@pytest.mark.parametrize("data", [PNG, JPEG, LABEL])
@pytest.mark.parametrize("tolerant", [False, True])
def test_a_file_cut_anywhere_never_loads(data: bytes, tolerant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", tolerant)  # other libraries turn this on
    decode = codec.decode_label if data is LABEL else codec.decode_image
    for end in [*range(1, 60), *range(60, len(data) - 2, 7), len(data) - 2]:
        with pytest.raises(DataError, match=r"^a\.png: "):
            decode(data[:end], "a.png")


@pytest.mark.parametrize("data", [PNG, JPEG, LABEL])
@settings(max_examples=150, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_bytes_give_an_array_or_a_data_error(data: bytes, edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for position, value in edits:
        damaged[position % len(data)] = value
    for decode in (codec.decode_image, codec.decode_label):
        with contextlib.suppress(DataError):
            assert decode(bytes(damaged), "x").size > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_come_back_exactly(dtype: type) -> None:
    label = RNG.integers(0, np.iinfo(dtype).max + 1, (5, 9)).astype(dtype)
    read = codec.decode_label(codec.encode_label(label), "x")
    assert np.array_equal(read, label)
    assert read.dtype == dtype


def test_palette_labels_keep_their_indices() -> None:
    ids = RNG.integers(0, 12, (5, 9), np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putdata(ids.ravel().tolist())
    image.putpalette([200, 10, 30] * 256)
    assert np.array_equal(codec.decode_label(saved(image), "x"), ids)


@pytest.mark.parametrize(
    ("bits", "row", "ids"),
    [(1, b"\0\xa0", [1, 0, 1, 0]), (2, b"\0\x1b", [0, 1, 2, 3]), (4, b"\0\x01\x2f", [0, 1, 2, 15])],
)
def test_labels_of_few_bits_are_not_stretched(bits: int, row: bytes, ids: list[int]) -> None:
    assert codec.decode_label(png(bits, 0, (1, 4), row), "x").tolist() == [ids]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_labels_with_more_channels_are_refused(mode: str) -> None:
    with pytest.raises(DataError, match=r"l\.png: got a label with channels .*expected a single channel"):
        codec.decode_label(saved(Image.fromarray(IMAGE).convert(mode)), "l.png")


def test_jpeg_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"l\.jpg: got a JPEG label, expected PNG"):
        codec.decode_label(saved(Image.fromarray(IMAGE).convert("L"), "JPEG"), "l.jpg")


SIDES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(old=SIDES, new=SIDES)
def test_resizing_a_label_takes_the_pixel_under_each_center(old: tuple[int, int], new: tuple[int, int]) -> None:
    label = np.arange(old[0] * old[1], dtype=np.uint16).reshape(old)
    taken = np.stack(np.unravel_index(codec.resize_label(label, new), old), -1)
    centers = np.stack(np.indices(new), -1) + 0.5
    assert np.all(np.abs((taken + 0.5) / old - centers / new) <= 0.5 / np.array(old) + 1e-9)


def test_shrinking_an_image_averages() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(codec.resize_image(stripes, (2, 2)).astype(int) - 100).max() <= 10
    assert codec.resize_image(IMAGE, (30, 7)).shape == (30, 7, 3)


def test_weak_reductions_are_plain_and_strong_ones_close_to_it() -> None:
    image = np.repeat(np.repeat(RNG.integers(0, 256, (40, 60, 3), np.uint8), 8, 0), 8, 1)  # 320 x 480
    for size, worst in [((160, 240), 0), ((81, 121), 0), ((640, 960), 0), ((40, 60), 40), ((17, 23), 20)]:
        plain = np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
        difference = np.abs(codec.resize_image(image, size) - plain)
        assert difference.max() <= worst
        assert difference.mean() <= worst / 4


@pytest.mark.parametrize("size", [(7, 11), (24, 40), (96, 160)])
def test_shrinking_keeps_a_flat_image_and_the_mean(size: tuple[int, int]) -> None:
    flat = np.full((263, 479, 3), 77, np.uint8)
    assert np.all(codec.resize_image(flat, size) == 77)
    noisy = RNG.integers(0, 256, (263, 479, 3), np.uint8)
    assert abs(codec.resize_image(noisy, size).mean() - noisy.mean()) <= 2


@given(old=SIDES, new=SIDES, bright=st.booleans())
def test_large_images_shrink_to_the_bytes_of_pillow(old: tuple[int, int], new: tuple[int, int], bright: bool) -> None:
    """They are averaged over blocks by kernels of our own, here asked for whatever the size."""
    old = (3 * old[0], 3 * old[1])
    image = np.random.default_rng(0).integers(250 if bright else 0, 256, (*old, 3), np.uint8)
    with mock.patch.object(codec, "_WORTH_COMPILING", 0):
        found = codec.resize_image(image, new)
    expected = Image.fromarray(image).resize(new[::-1], Image.Resampling.BILINEAR, reducing_gap=2.0)
    assert np.array_equal(found, np.array(expected))


def test_wrong_arrays_are_refused() -> None:
    for empty in (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 0, 3), np.uint8)):
        with pytest.raises(ValueError, match="neither side 0"):
            codec.encode_image(empty, "png")
    with pytest.raises(ValueError, match="neither side 0"):
        codec.encode_label(np.zeros((0, 4), np.uint8))
    with pytest.raises(ValueError, match=r"expected uint8\[H, W, 3\]"):
        codec.encode_image(IMAGE[..., 0], "png")
    with pytest.raises(ValueError, match=r"expected uint8 or uint16 \[H, W\]"):
        codec.encode_label(IMAGE)
    with pytest.raises(ValueError, match="'gif'"):
        codec.encode_image(IMAGE, "gif")
