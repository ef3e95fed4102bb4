"""Encoded images and labels to arrays and back. Every array here is `uint8` unless it says otherwise."""

import io
import struct
import zlib
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from dakpn.errors import DataError, FormatError
from dakpn.images import png
from dakpn.images.header import (
    ImageFormat,
    ImageHeader,
    bounded_header,
    detect_format,
    image_header,
    label_header,
)

try:  # decodes JPEG three times as fast to the same pixels, and refuses damaged data that Pillow lets through
    import simplejpeg
except ImportError:
    simplejpeg = None

_REDUCING_GAP = 2.0
_WORTH_COMPILING = 1_500_000
"""Values of an image; smaller ones, which Pillow shrinks in a millisecond, do not ask for numba."""
_MOST_PIXELS = 256
# What Pillow, simplejpeg and pyspng raise on hostile bytes; their own documentation promises less.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError)
_DECODER_ERRORS = (*_PILLOW_ERRORS, RuntimeError, struct.error, zlib.error)


def image_format(data: bytes, origin: str) -> ImageFormat:
    """Return "png" or "jpeg", told from the first bytes, never from a file name.

    Raises:
        DataError: Any other format.
    """
    return detect_format(data, origin)


def image_size(data: bytes, origin: str) -> tuple[int, int]:
    """Return (height, width) from the header, in microseconds and without decoding.

    Args:
        data: An encoded PNG or JPEG image.
        origin: What to call it in an error: its path, or its key and shard.

    Raises:
        DataError: Another format, a damaged or truncated file, or more than `MAX_PIXELS` pixels.
    """
    header = bounded_header(data, origin)
    return header.height, header.width


def decode_image(data: bytes, origin: str) -> NDArray[np.uint8]:
    """Decode an image to RGB, [H, W, 3], 0..255, writable.

    Grey, palette and alpha images with 8 bits a channel or fewer become RGB; an alpha channel is dropped only
    if every pixel is opaque, for there is no telling what was meant to lie behind it. An EXIF orientation is
    not applied (a label has none, and the two must stay aligned), nor is an ICC profile or gamma.

    Args:
        data: An encoded PNG or JPEG image.
        origin: What to call it in an error: its path, or its key and shard.

    Raises:
        DataError: Another format, a truncated or damaged file, more than `MAX_PIXELS` pixels, more than 8
            bits a channel, a CMYK image, or pixels that are not opaque.
    """
    header = image_header(data, origin)
    if header.format == "jpeg" and simplejpeg is not None:
        try:
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        except _DECODER_ERRORS as error:
            raise _damaged(header, origin, error) from error
    stored = _load(data, header, origin)
    return _opaque_rgb(stored, origin) if isinstance(stored, Image.Image) else _plain_rgb(stored, origin)


def decode_colors(data: bytes, origin: str) -> NDArray[np.uint8]:
    """Decode a PNG of 8 bits a channel, or of a palette, to RGB, [H, W, 3], whatever its alpha channel holds.

    For labels whose colors mean classes: alpha means nothing there.

    Raises:
        DataError: More than `MAX_PIXELS` pixels, or a truncated or damaged file.
    """
    header = bounded_header(data, origin)
    stored = _load(data, header, origin)
    if not isinstance(stored, Image.Image):
        return np.repeat(stored, 3, axis=2) if stored.shape[2] == 1 else stored[..., :3]
    return np.array(stored.convert("RGBA"))[..., :3]


def without_alpha(rgba: NDArray[np.uint8], origin: str) -> NDArray[np.uint8]:
    """Return RGB, [H, W, 3], of opaque [H, W, 4]. Raises `FormatError` if a pixel is transparent."""
    _check_opaque(rgba, origin)
    return rgba[..., :3].copy()


def decode_label(data: bytes, origin: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a label to class ids, [H, W], `uint8`, or `uint16` when the file holds 16 bits, writable.

    Ids are the stored numbers: those of a palette image are its indices (the colors are ignored), those of
    a grey image with 1, 2 or 4 bits are not stretched to 0..255 as viewers do.

    Raises:
        DataError: Not a PNG (JPEG changes ids), more than one channel, more than `MAX_PIXELS` pixels,
            or a truncated or damaged file.
    """
    header = label_header(data, origin)
    stored = np.array(_load(data, header, origin, ids=True))
    if stored.ndim == 3:
        return stored[..., 0]
    if header.bits == 16:
        return stored.astype(np.uint16)
    ids = stored.astype(np.uint8)
    if header.channels == "grey" and header.bits in (2, 4):  # Pillow stretches these, by exactly this factor
        ids //= 255 // (2**header.bits - 1)
    return ids


def encode_image(
    image: NDArray[np.uint8],
    format: ImageFormat,  # noqa: A002 - the word that says it
    quality: int = 95,
) -> bytes:
    """Encode RGB pixels; the same pixels give the same bytes, as long as `writer_name` and its version stay the same.

    Args:
        image: [H, W, 3], 0..255, neither side 0.
        format: "png" (lossless) or "jpeg" (with full color resolution, 4:4:4).
        quality: Quality of a JPEG, 1..100; PNG ignores it.

    Raises:
        ValueError: An array of another shape or type, or an unknown format.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"got an image {image.dtype}{list(image.shape)}, expected uint8[H, W, 3], neither side 0")
    if format == "png":
        return png.write_png(image)
    if format != "jpeg":
        raise ValueError(f"got the image format {format!r}, expected 'png' or 'jpeg'")
    buffer = io.BytesIO()
    # Not simplejpeg: below quality 96 it takes libjpeg's coarse DCT, 9 % more squared error and 3 % more bytes for
    # 7 % less time; from 96 on its bytes are the same as these.
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def encode_label(label: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Encode class ids, [H, W], `uint8` or `uint16`, as a PNG that `decode_label` reads back exactly.

    Raises:
        ValueError: An array of another shape or type.
    """
    if label.ndim != 2 or label.size == 0 or label.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"got a label {label.dtype}{list(label.shape)}, expected uint8 or uint16 [H, W], neither side 0"
        )
    return png.write_png(label)


def writer_name(format: ImageFormat) -> str:  # noqa: A002 - the word that says it
    """Return what encodes this format here: "pillow" for JPEG, "isal" for PNG, or "zlib" without that package.

    PNG bytes, never pixels, depend on it: and with it on the library's version and on the kind of processor,
    for ISA-L picks its instructions at run time.
    """
    return png.deflate_name() if format == "png" else "pillow"


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize [H, W, 3] to (h, w): averages over the covered area when shrinking, bilinear when growing.

    A side that shrinks to a quarter or less is first averaged over whole blocks that leave at least twice the
    wanted size: 1914 x 1052 to 160 x 96 in 0.4 of the time, 0.4 grey levels away on average. Less is not touched.
    """
    height, width = size
    rows, columns = shrink_factors((image.shape[0], image.shape[1]), size)
    if image.size < _WORTH_COMPILING or not 1 < rows * columns <= _MOST_PIXELS or (kernels := _kernels()) is None:
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    else:  # the same in two thirds of the time
        means = Image.fromarray(kernels.block_means(image, (rows, columns)))
        box = (0, 0, image.shape[1] / columns, image.shape[0] / rows)
        resized = means.resize((width, height), Image.Resampling.BILINEAR, box)
    return np.array(resized)


def shrink_factors(old: tuple[int, int], new: tuple[int, int]) -> tuple[int, int]:
    """Return the (rows, columns) of the blocks that `resize_image` averages first; 1 where it leaves a side alone."""
    rows, columns = (int(before / after / _REDUCING_GAP) or 1 for before, after in zip(old, new, strict=True))
    return rows, columns


def resize_label(
    label: NDArray[np.uint8] | NDArray[np.uint16], size: tuple[int, int]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Resize [H, W] to (h, w) by taking the nearest pixel: no id appears that was not there."""
    rows, columns = (_nearest(old, new) for old, new in zip(label.shape, size, strict=True))
    return label[rows[:, None], columns]


@cache
def _kernels() -> ModuleType | None:
    """Averages over blocks, imported where they are first asked for, as numba takes a while; None without it."""
    try:
        from dakpn.images import block_kernels
    except ImportError:
        return None
    return block_kernels


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return, for each of `new` pixels, which of `old` pixels its center falls into."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _load(data: bytes, header: ImageHeader, origin: str, ids: bool = False) -> Image.Image | NDArray[np.uint8]:
    """Return stored numbers, [H, W, C], of the common kinds of PNG, and of everything else Pillow's image.

    Args:
        data: What to decode.
        header: Its header.
        origin: What to call it in an error.
        ids: Whether the numbers of a palette image are wanted as they are.
    """
    try:
        if header.format == "jpeg":
            return _pillow_image(data, JpegImageFile)
        chunks = png.read_chunks(data)
        pixels = png.read_pixels(chunks)
        if pixels is None or (header.channels == "palette" and not ids):
            return _pillow_image(png.join_chunks(chunks), PngImageFile)
        return pixels
    except _DECODER_ERRORS as error:
        raise _damaged(header, origin, error) from error


def _pillow_image(data: bytes, reader: type[ImageFile.ImageFile]) -> Image.Image:
    # The format's own class, not Image.open: that one warns about, then refuses, sizes allowed here.
    image = reader(io.BytesIO(data))
    image.load()
    return image


def _damaged(header: ImageHeader, origin: str, error: Exception) -> DataError:
    return DataError(
        f"{origin}: the {header.format.upper()} data is truncated or damaged ({error}); "
        "expected a complete image: copy or download it again"
    )


def _opaque_rgb(image: Image.Image, origin: str) -> NDArray[np.uint8]:
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        _check_opaque(np.asarray(image), origin)
    return np.array(image.convert("RGB"))


def _plain_rgb(stored: NDArray[np.uint8], origin: str) -> NDArray[np.uint8]:
    channels = stored.shape[2]
    if channels == 4:
        _check_opaque(stored, origin)
        return stored[..., :3].copy()
    return stored if channels == 3 else np.repeat(stored, 3, axis=2)


def _check_opaque(rgba: NDArray[np.uint8], origin: str) -> None:
    if rgba[..., 3].min() < 255:
        raise FormatError(
            f"{origin}: got an image with transparent pixels, expected an opaque one; put it on a background first"
        )
