"""PNG files without Pillow: chunks with their checksums, and fast scanlines in both directions.

Reading goes in two steps, because pyspng alone ignores checksums and holds the interpreter lock for the whole
image: the pixel data is verified and inflated here (ISA-L, lock released), and only the undoing of the row
filters is left to pyspng, in strips small enough to stay in the processor's cache. So no byte of a foreign file
but filtered pixels reaches that library. Writing filters every row with Up and deflates at level 1.
"""

import itertools
import zlib
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

try:  # inflates twice and deflates six times as fast as zlib
    from isal import igzip_lib, isal_zlib
except ImportError:
    igzip_lib = isal_zlib = None

try:  # undoes row filters with vector instructions
    from pyspng import load as load_spng
except ImportError:
    load_spng = None

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_UP = 2  # the row filter "minus the pixel above"
_LEVEL = 1
_STRIP_BYTES = 1 << 16
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type: grey, RGB, palette, grey with alpha, RGBA
_INFLATE_ERRORS = (zlib.error,)
if igzip_lib is not None:
    _INFLATE_ERRORS = (zlib.error, cast("type[Exception]", igzip_lib.IsalError))
_COLOR_TYPE = {1: 0, 3: 2, 4: 6}  # by channels
# Of the seven passes of an interlaced image: first column and row, steps to the next ones.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")  # what pixels depend on


def deflate_name() -> str:
    """Return the library that compresses what `write_png` writes: "isal", or "zlib" where that is not installed."""
    return "zlib" if isal_zlib is None else "isal"


def read_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the bodies of the chunks that pixels depend on, by type, the IDAT chunks as one.

    Args:
        data: A whole PNG file, known to go on to its IEND chunk.

    Raises:
        ValueError: A chunk, of whatever type, does not match its checksum, or pixel data is interrupted by another.
    """
    bodies: dict[bytes, list[memoryview]] = {}
    view, position, kind = memoryview(data), len(SIGNATURE), b""
    while kind != b"IEND":
        before = kind
        start = position + 8
        end = start + int.from_bytes(view[position : position + 4], "big")
        kind = bytes(view[position + 4 : start])
        if _crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"wrong checksum of the chunk {kind!r} at byte {position}")
        if kind == b"IDAT" and kind in bodies and before != kind:
            raise ValueError(f"pixel data interrupted by the chunk {before!r}")
        if kind in _KEPT and (kind == b"IDAT" or kind not in bodies):
            bodies.setdefault(kind, []).append(view[start:end])
        position = end + 4
    return {kind: b"".join(parts) for kind, parts in bodies.items()}


def join_chunks(chunks: Mapping[bytes, bytes]) -> bytes:
    """Return a PNG file of these chunks and no others."""
    parts = [_chunk(kind, chunks[kind]) for kind in _KEPT if kind in chunks]
    return b"".join((SIGNATURE, *parts, _chunk(b"IEND", b"")))


def read_pixels(chunks: Mapping[bytes, bytes]) -> NDArray[np.uint8] | None:
    """Return the stored numbers of the common layouts, [H, W, C], writable: grey, palette indices, RGB or RGBA.

    Args:
        chunks: As `read_chunks` returns them.

    Returns:
        None for interlaced files, other depths than 8 bits, grey with alpha and colors declared transparent,
        and for every file where pyspng is not installed; their pixel data is complete all the same.

    Raises:
        ValueError: The pixel data is damaged or ends early, or the header says what PNG does not know.
        RuntimeError: The pixel data has a row filter that does not exist.
    """
    header = chunks[b"IHDR"]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, color_type, interlaced = header[8], header[9], header[12]
    if header[10:12] != bytes(2) or interlaced > 1:
        raise ValueError(f"unknown methods {list(header[10:13])}")
    channels = _CHANNELS[color_type]
    length = sum(h * (1 + (w * depth * channels + 7) // 8) for h, w in _passes(height, width, interlaced))
    inflated = _inflate(chunks.get(b"IDAT", b""), length)
    if load_spng is None or depth != 8 or interlaced or channels not in _COLOR_TYPE or b"tRNS" in chunks:
        return None
    scanlines = np.frombuffer(inflated, np.uint8, length).reshape(height, -1)
    return _unfilter(scanlines, channels, load_spng).reshape(height, width, channels)


def _passes(height: int, width: int, interlaced: int) -> list[tuple[int, int]]:
    """Return the (height, width) of every pass that has pixels."""
    if not interlaced:
        return [(height, width)]
    sizes = [((height - y + dy - 1) // dy, (width - x + dx - 1) // dx) for x, y, dx, dy in _ADAM7]
    return [(h, w) for h, w in sizes if h > 0 and w > 0]


def write_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a PNG file of [H, W] (`uint8` or `uint16`) or of [H, W, 3] (`uint8`), neither side 0."""
    height, width = pixels.shape[:2]
    depth, color_type = 8 * pixels.itemsize, 0 if pixels.ndim == 2 else 2
    big_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = big_endian.reshape(height, -1).view(np.uint8)
    scanlines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    scanlines[:, 0] = _UP
    scanlines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=scanlines[1:, 1:])
    deflate = zlib.compress if isal_zlib is None else isal_zlib.compress
    return join_chunks({b"IHDR": _header(height, width, depth, color_type), b"IDAT": deflate(scanlines.data, _LEVEL)})


def _header(height: int, width: int, depth: int, color_type: int) -> bytes:
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((depth, color_type, 0, 0, 0))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return b"".join((len(body).to_bytes(4, "big"), kind, body, _crc32(body, _crc32(kind)).to_bytes(4, "big")))


def _crc32(data: bytes | memoryview, start: int = 0) -> int:
    return zlib.crc32(data, start) if isal_zlib is None else isal_zlib.crc32(data, start)


def _inflate(data: bytes, length: int) -> bytes:
    """Return at least `length` bytes; what a sloppy writer appended is cut off after one byte."""
    stream = zlib.decompressobj() if isal_zlib is None else isal_zlib.decompressobj()
    try:
        inflated = stream.decompress(data, length + 1)
    except _INFLATE_ERRORS as error:
        raise ValueError(str(error)) from error
    if len(inflated) < length or (len(inflated) == length and not stream.eof):
        raise ValueError(f"its pixel data ends after {len(inflated)} of {length} bytes")
    return inflated


def _unfilter(
    scanlines: NDArray[np.uint8], channels: int, load: Callable[[bytes], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Undo the row filters named in column 0 of [H, 1 + W * C]; returns [H, W * C]."""
    height, row_bytes = scanlines.shape
    if np.all(scanlines[:, 0] == _UP):  # our own files; strips would take four times as long
        rows = scanlines[:, 1:].copy()
        for above, row in itertools.pairwise(rows):
            np.add(above, row, out=row)
        return rows
    rows = np.empty((height, row_bytes - 1), np.uint8)
    strip_rows = max(1, _STRIP_BYTES // row_bytes)
    strip = np.zeros((1 + strip_rows, row_bytes), np.uint8)  # row 0 is the finished row above, under filter None
    for top in range(0, height, strip_rows):
        count = min(strip_rows, height - top)
        strip[1 : 1 + count] = scanlines[top : top + count]
        header = _header(1 + count, (row_bytes - 1) // channels, 8, _COLOR_TYPE[channels])
        stored = zlib.compress(strip[: 1 + count].data, 0)  # level 0 only copies
        loaded = load(join_chunks({b"IHDR": header, b"IDAT": stored}))
        rows[top : top + count] = loaded.reshape(1 + count, -1)[1:]
        strip[0, 1:] = rows[top + count - 1]
    return rows
