"""The fast PNG path against Pillow: the same pixels, and nothing incomplete or damaged let through."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dakpn.errors import DataError
from dakpn.images import codec, png

COLORS = {"grey": (0, 1), "rgb": (2, 3), "palette": (3, 1), "grey+alpha": (4, 2), "rgba": (6, 4)}
DEPTHS = {"grey": (1, 2, 4, 8, 16), "rgb": (8, 16), "palette": (1, 2, 4, 8), "grey+alpha": (8, 16), "rgba": (8, 16)}
LAYOUTS = [(name, depth) for name, depths in DEPTHS.items() for depth in depths]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def build(
    size: tuple[int, int], name: str = "rgb", depth: int = 8, interlaced: bool = False, *,
    seed: int = 0, extra: bytes = b"", cut: int = 0, tail: bytes = b"", split: bytes = b"",
) -> bytes:  # fmt: skip
    """A file with random rows under random filters, opaque where that takes alpha bytes, by the letter of the standard.

    `cut` removes bytes from the end of the compressed data, `tail` is appended to the rows, `split` stands between
    two IDAT chunks.
    """
    rng = np.random.default_rng(seed)
    color, channels = COLORS[name]
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, color, 0, 0, int(interlaced))
    rows = b""
    for height, width in png._passes(*size, int(interlaced)):
        for _ in range(height):
            row = rng.integers(0, 256, (width * channels * depth + 7) // 8, np.uint8)
            rows += bytes([rng.integers(0, 5)]) + row.tobytes()
    data = zlib.compress(rows + tail)
    data = data[: len(data) - cut]
    palette = chunk(b"PLTE", rng.integers(0, 256, 3 * 200, np.uint8).tobytes()[: 3 * 2**depth])
    body = chunk(b"IHDR", header) + (palette if name == "palette" else b"") + extra
    middle = len(data) // 2
    body += chunk(b"IDAT", data[:middle]) + split + chunk(b"IDAT", data[middle:])
    return png.SIGNATURE + body + chunk(b"IEND", b"")


def pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(size=SIZES, layout=st.sampled_from(LAYOUTS), interlaced=st.booleans(), seed=st.integers(0, 10**6))
@settings(deadline=None)
def test_images_of_every_layout_decode_as_pillow_does(
    size: tuple[int, int], layout: tuple[str, int], interlaced: bool, seed: int
) -> None:
    data = build(size, *layout, interlaced, seed=seed)
    expected = pillow(data)
    if layout[1] == 16 or ("A" in expected.getbands() and np.asarray(expected)[..., -1].min() < 255):
        with pytest.raises(DataError, match=r"16 bits|transparent"):
            codec.decode_image(data, "x")
    else:
        decoded = codec.decode_image(data, "x")
        assert np.array_equal(decoded, np.asarray(expected.convert("RGB")))
        decoded += 1  # writable


@given(size=SIZES, layout=st.sampled_from(LAYOUTS), interlaced=st.booleans(), seed=st.integers(0, 10**6))
@settings(deadline=None)
def test_labels_hold_the_stored_numbers(
    size: tuple[int, int], layout: tuple[str, int], interlaced: bool, seed: int
) -> None:
    name, depth = layout
    data = build(size, name, depth, interlaced, seed=seed)
    if name not in ("grey", "palette"):
        with pytest.raises(DataError, match="single channel"):
            codec.decode_label(data, "x")
        return
    stretch = 255 // (2**depth - 1) if name == "grey" and depth < 8 else 1
    expected = np.asarray(pillow(data)).astype(int)
    # Pillow reads 1 bit as truth values, and stretches 2 and 4 bits.
    assert np.array_equal(codec.decode_label(data, "x"), expected if depth == 1 else expected // stretch)


@given(
    shape=st.sampled_from([(1, 1), (1, 9), (9, 1), (3, 5), (64, 65), (1, 1, 3), (7, 1, 3), (1, 7, 3), (33, 31, 3)]),
    deep=st.booleans(),
    smooth=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_written_files_are_what_pillow_and_we_read_back(
    shape: tuple[int, ...], deep: bool, smooth: bool, seed: int
) -> None:
    dtype = np.uint16 if deep and len(shape) == 2 else np.uint8
    high = 2 if smooth else np.iinfo(dtype).max + 1
    pixels = np.random.default_rng(seed).integers(0, high, shape).astype(dtype)
    data = png.write_png(pixels)
    assert np.array_equal(np.asarray(pillow(data)), pixels)
    assert np.array_equal((codec.decode_image if len(shape) == 3 else codec.decode_label)(data, "x"), pixels)
    assert data == png.write_png(np.asfortranarray(pixels))
    Image.open(io.BytesIO(data)).verify()


def test_an_image_of_many_strips_joins_without_a_seam() -> None:
    data = build((300, 700), "rgb", seed=1)
    assert np.array_equal(codec.decode_image(data, "x"), np.asarray(pillow(data)))
    wide = build((3, 30_000), "rgba", seed=1)  # one row is longer than a strip
    chunks = png.read_chunks(wide)
    assert np.array_equal(png.read_pixels(chunks), np.asarray(pillow(wide)))


def test_opaque_alpha_is_dropped() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 5, 4), np.uint8)
    pixels[..., 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    decoded = codec.decode_image(buffer.getvalue(), "x")
    assert np.array_equal(decoded, pixels[..., :3])
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout[0] in ("grey", "palette")])
@pytest.mark.parametrize("interlaced", [False, True])
def test_rows_that_are_missing_under_right_checksums_are_refused(layout: tuple[str, int], interlaced: bool) -> None:
    whole = build((9, 20), *layout, interlaced)
    taller = bytearray(whole)
    taller[23] = 30  # Pillow alone would return the last rows black
    taller[29:33] = struct.pack(">I", zlib.crc32(taller[12:29]))
    codec.decode_label(whole, "x")
    with pytest.raises(DataError, match=r"^a\.png: .*pixel data ends after"):
        codec.decode_label(bytes(taller), "a.png")
    with pytest.raises(DataError, match=r"^a\.png: "):
        codec.decode_label(build((9, 20), *layout, interlaced, cut=3), "a.png")


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT", b"tEXt", b"IEND"])
def test_a_wrong_checksum_of_any_chunk_is_refused_by_name(kind: bytes) -> None:
    data = bytearray(build((5, 7), "palette", extra=chunk(b"tEXt", b"a\0b")))
    end = data.rfind(kind) + 4 + int.from_bytes(data[data.rfind(kind) - 4 : data.rfind(kind)], "big")
    data[end] ^= 1
    with pytest.raises(DataError, match=rf"a\.png: .*wrong checksum of the chunk b'{kind.decode()}'"):
        codec.decode_label(bytes(data), "a.png")


def test_interrupted_pixel_data_and_unknown_methods_and_filters_are_refused() -> None:
    with pytest.raises(DataError, match="interrupted by the chunk b'tEXt'"):
        codec.decode_image(build((5, 7), split=chunk(b"tEXt", b"a\0b")), "x")
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 1, 0)
    ends = chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match="unknown methods"):
        codec.decode_image(png.SIGNATURE + chunk(b"IHDR", header) + ends, "x")
    known = png.SIGNATURE + chunk(b"IHDR", header[:11] + b"\0\0")
    with pytest.raises(DataError, match="damaged"):
        codec.decode_image(known + chunk(b"IDAT", zlib.compress(b"\5\0")) + chunk(b"IEND", b""), "x")


def test_what_a_sloppy_writer_appends_and_other_chunks_do_not_matter() -> None:
    plain = build((5, 7), seed=3)
    extra = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"iCCP", b"not a profile")
    for other in (build((5, 7), seed=3, tail=bytes(9)), build((5, 7), seed=3, extra=extra)):
        assert np.array_equal(codec.decode_image(other, "x"), codec.decode_image(plain, "x"))


@pytest.mark.parametrize("missing", ["load_spng", "isal_zlib"])
def test_without_the_fast_libraries_pixels_and_refusals_are_the_same(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [build((40, 300), name, seed=2) for name in ("grey", "rgb", "palette")]
    bad = [build((40, 300), name, seed=2, cut=3) for name in ("grey", "rgb", "palette")]
    fast = [codec.decode_image(data, "x") for data in good]
    assert codec.writer_name("png") == "isal"
    monkeypatch.setattr(png, missing, None)
    assert codec.writer_name("png") == ("zlib" if missing == "isal_zlib" else "isal")
    assert codec.writer_name("jpeg") == "pillow"
    assert all(np.array_equal(codec.decode_image(d, "x"), f) for d, f in zip(good, fast, strict=True))
    assert np.array_equal(np.asarray(pillow(codec.encode_image(fast[1], "png"))), fast[1])
    for data in bad:
        with pytest.raises(DataError, match="pixel data ends after"):
            codec.decode_image(data, "x")


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    layout=st.sampled_from(LAYOUTS),
    flips=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 7)), min_size=1, max_size=4),
    mend=st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_damage_gives_an_array_or_a_data_error(
    size: tuple[int, int], layout: tuple[str, int], flips: list[tuple[int, int]], mend: bool
) -> None:
    """Also when the checksums are mended afterwards, which no accident does."""
    data = bytearray(build(size, *layout))
    damageable = [i for i in range(8, len(data)) if i not in range(16, 19) and i not in range(20, 23)]  # not too large
    for position, bit in flips:
        data[damageable[position % len(damageable)]] ^= 1 << bit
    if mend:
        mend_checksums(data)
    for decode in (codec.decode_image, codec.decode_label):
        with contextlib.suppress(DataError):
            assert decode(bytes(data), "x").size > 0


def mend_checksums(data: bytearray) -> None:
    position = 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4


@given(data=st.binary(max_size=200))
def test_random_bytes_behind_the_signature_are_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError):
        codec.decode_image(png.SIGNATURE + data, "x")


def test_passes_of_an_interlaced_image_cover_it_once() -> None:
    for size in [(1, 1), (2, 3), (5, 5), (8, 8), (9, 17)]:
        assert sum(height * width for height, width in png._passes(*size, 1)) == size[0] * size[1]
