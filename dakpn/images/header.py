"""What the first bytes of a PNG or JPEG file say, read without decoding a pixel.

Own code rather than Pillow's, because Pillow opens a 16-bit color PNG as if it had 8 bits, only warns about
very large images, and trusts process-wide switches that any other library may have turned.
"""

from typing import Literal, NamedTuple

from dakpn.errors import DataError, EmptyFileError, FormatError, OversizedError
from dakpn.images import png

ImageFormat = Literal["png", "jpeg"]
SourceFormat = Literal["png", "jpeg", "webp"]
"""Formats of images that can be packed; a packed dataset holds PNG and JPEG."""

MAX_PIXELS = 200_000_000
"""Largest height x width that is decoded: 600 MB as an RGB array."""

_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
_PNG_CHANNELS = {0: "grey", 2: "rgb", 3: "palette", 4: "grey+alpha", 6: "rgb+alpha"}
_JPEG_CHANNELS = {1: "grey", 3: "rgb"}
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG and DAC
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_OTHERS = (
    (b"II*\0", "TIFF file"),
    (b"MM\0*", "TIFF file"),
    (b"GIF8", "GIF file"),
    (b"BM", "BMP file"),
    (b"RIFF", "WebP file"),
    (b"\0\0\0", "HEIF or AVIF file"),
)
_MAX_SCANS = 200  # encoders make about 10; each costs a pass over all pixels, however few bytes it has


class ImageHeader(NamedTuple):
    """Size and pixel layout of an encoded image; `bits` are those of one channel, `scans` of a progressive JPEG.

    `frames` are those of an animated PNG.
    """

    format: ImageFormat
    height: int
    width: int
    bits: int
    channels: str
    scans: int = 1
    frames: int = 1


def detect_source_format(data: bytes, origin: str) -> SourceFormat:
    """Return the format of what can be packed: PNG, JPEG, or WebP, which packing decodes.

    Raises:
        FormatError: The bytes are empty or of any other format.
    """
    return "webp" if is_webp(data) else detect_format(data, origin)


def is_webp(data: bytes) -> bool:
    """Tell whether a file is a WebP image, by its first bytes."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def holds_one_channel(head: bytes) -> bool:
    """Tell whether a file is a grey or palette PNG, as label maps are, by its first 26 bytes or more."""
    return head.startswith(png.SIGNATURE) and len(head) > 25 and head[25] in (0, 3)


def detect_format(data: bytes, origin: str) -> ImageFormat:
    """Return the format that the first bytes of `data` announce; nothing but PNG and JPEG is let in.

    Raises:
        FormatError: The bytes are empty or of any other format.
    """
    if data.startswith(png.SIGNATURE):
        return "png"
    if data.startswith(_JPEG_MAGIC):
        return "jpeg"
    if not data:
        raise EmptyFileError(f"{origin}: got an empty file, expected a PNG or JPEG image; copy or remove it")
    if data.startswith(b"version https://git-lfs"):
        raise FormatError(
            f"{origin}: got the pointer that Git LFS leaves instead of a file, expected a PNG or JPEG image; fetch it "
            "with `git lfs pull`"
        )
    known = next((name for start, name in _OTHERS if data.startswith(start)), "file")
    raise FormatError(
        f"{origin}: got a file that begins with {bytes(data[:8])!r}, expected a PNG or JPEG image; convert the "
        f"{known} or leave it out"
    )


def read_header(data: bytes, origin: str) -> ImageHeader:
    """Return the header of an encoded image, having checked that the file goes on to its end mark.

    Raises:
        DataError: Another format, a damaged header, or a file that stops early.
    """
    image_format = detect_format(data, origin)
    try:
        header = _read_png(data) if image_format == "png" else _read_jpeg(data)
    except IndexError:
        raise DataError(
            f"{origin}: the {image_format.upper()} file is truncated ({len(data)} bytes, no end mark); "
            "expected a complete image: copy or download it again"
        ) from None
    if header is None or header.height < 1 or header.width < 1:
        raise DataError(
            f"{origin}: the {image_format.upper()} header is damaged; expected an image with a size: "
            "copy or download it again"
        )
    return header


def require_checksums(data: bytes, origin: str) -> None:
    """Refuse a PNG file with a chunk that does not match its checksum. JPEG has none, so nothing is found there.

    Finds almost all damage in a tenth of the time that decoding takes.

    Args:
        data: Bytes of a file whose header `read_header` has read.
        origin: What to call it in an error.

    Raises:
        DataError: A checksum is wrong.
    """
    if not data.startswith(png.SIGNATURE):
        return
    try:
        png.read_chunks(data)
    except ValueError as error:
        raise DataError(
            f"{origin}: the PNG data is damaged ({error}); expected a complete image: copy or download it again"
        ) from error


def bounded_header(data: bytes, origin: str) -> ImageHeader:
    """Return the header of an encoded image that can be decoded in bounded memory and time.

    Raises:
        DataError: As `read_header`; more than `MAX_PIXELS` pixels, an animated PNG, or a progressive JPEG of very many
            scans.
    """
    header = read_header(data, origin)
    if header.height * header.width > MAX_PIXELS:
        raise OversizedError(
            f"{origin}: got an image of {header.width} x {header.height} pixels, expected at most "
            f"{MAX_PIXELS} in all; cut or shrink it first"
        )
    if header.frames > 1:
        raise FormatError(
            f"{origin}: got an animated PNG of {header.frames} frames, expected one; save one as an image"
        )
    if header.scans > _MAX_SCANS:
        raise OversizedError(
            f"{origin}: got a JPEG of {header.scans} scans, expected at most {_MAX_SCANS}; save it anew or leave it out"
        )
    return header


def image_header(data: bytes, origin: str) -> ImageHeader:
    """Return the header of what can be an image of a dataset; pixels are not looked at.

    Raises:
        DataError: As `bounded_header`; more than 8 bits a channel, or a CMYK image.
    """
    header = bounded_header(data, origin)
    if header.bits > 8:
        raise FormatError(
            f"{origin}: got an image with {header.bits} bits a channel, expected 8; convert it as it should look, for "
            "nothing says which of its values is white (as it is: `magick IN -depth 8 OUT`)"
        )
    if header.channels == "cmyk":
        raise FormatError(f"{origin}: got a CMYK image, expected RGB or grey; convert it first")
    return header


def label_header(data: bytes, origin: str) -> ImageHeader:
    """Return the header of what can be a label of a dataset; ids are not looked at.

    Raises:
        DataError: As `bounded_header`; not a PNG (JPEG changes ids), or more than one channel.
    """
    header = bounded_header(data, origin)
    if header.format != "png":
        raise FormatError(f"{origin}: got a JPEG label, expected PNG, for JPEG changes class ids; get the original")
    if header.channels not in ("grey", "palette"):
        raise FormatError(
            f"{origin}: got a label with channels {header.channels}, expected a single channel of class ids; choose or "
            "write a preset that says what they mean: label_format colors, first_channel_8bit or grey"
        )
    return header


def _number(data: bytes, start: int, length: int) -> int:
    """Return a big-endian number; IndexError when the data ends before it."""
    if start + length > len(data):
        raise IndexError(start)
    return int.from_bytes(data[start : start + length], "big")


def _read_png(data: bytes) -> ImageHeader | None:
    if data[8:16] != b"\0\0\0\rIHDR"[: len(data[8:16])]:
        return None
    width, height = _number(data, 16, 4), _number(data, 20, 4)
    bits, channels = _number(data, 24, 1), _PNG_CHANNELS.get(_number(data, 25, 1))
    position, frames = len(png.SIGNATURE), 1
    while (kind := data[position + 4 : position + 8]) != b"IEND":  # chunk by chunk: length, type, body, checksum
        if kind == b"acTL":
            frames = _number(data, position + 8, 4)
        position += 12 + _number(data, position, 4)
    _number(data, position + 8, 4)  # the last chunk's checksum
    return ImageHeader("png", height, width, bits, channels, frames=frames) if channels else None


def _read_jpeg(data: bytes) -> ImageHeader | None:
    position = 2
    while True:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            break
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in (0xD9, 0xDA):  # pixels, or the end, before any frame header
            return None
        else:
            position += 2 + _number(data, position + 2, 2)
    bits, height = _number(data, position + 4, 1), _number(data, position + 5, 2)
    width, components = _number(data, position + 7, 2), _number(data, position + 9, 1)
    # Entropy-coded data stuffs a zero after each 0xFF, so an end mark behind the frame header is a real one.
    # Looked for from the end, where it mostly is.
    if data.rfind(_JPEG_END, position + 10) < 0:
        raise IndexError(len(data))
    scans = data.count(_JPEG_SCAN, position) if marker in _JPEG_PROGRESSIVE else 1
    return ImageHeader("jpeg", height, width, bits, _JPEG_CHANNELS.get(components, "cmyk"), scans)
