"""Images as they are to be stored: upright, without an orientation to be applied, as PNG or JPEG.

Cameras store the pixels of a picture held sideways or upside down as the sensor saw them, and an EXIF orientation that
viewers apply and others do not. So that all see the same, packing turns such pixels and drops the orientation. The
result is a PNG, so that no pixel changes; so is what a WebP file holds. All other images are kept byte for byte.
"""

import io
import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dakpn.config import Orientation
from dakpn.errors import DataError, FormatError, OversizedError
from dakpn.images import codec, png
from dakpn.images.header import MAX_PIXELS, is_webp

_TAG = 0x0112
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, RuntimeError)
_HOW = {2: "mirrored", 3: "turned by 180 degrees", 4: "mirrored", 5: "turned", 6: "turned", 7: "turned", 8: "turned"}
_Array = TypeVar("_Array", bound=NDArray[Any])


class UndecidableError(DataError):
    """A label of which nothing tells whether it lies as the picture is shown, or as its pixels are stored."""


class StoredPair(NamedTuple):
    """Image and label as they are to be stored, and what was done to make them so: (what, which of it)."""

    image: bytes
    label: bytes | None
    changes: tuple[tuple[str, str], ...] = ()


def stored_pair(
    image: bytes, label: bytes | None, origin: str, label_origin: str, orientation: Orientation | None = None
) -> StoredPair:
    """Return an image upright and as PNG or JPEG, and its label, turned along where it lies as the pixels were stored.

    Args:
        image: PNG, JPEG or WebP.
        label: PNG of class ids; None without.
        origin: What to call the image in errors.
        label_origin: What to call the label.
        orientation: How a label lies whose size fits both ways; None refuses such a pair.

    Raises:
        DataError: A damaged WebP file, or one with several frames; a label of which nothing tells how it lies.
    """
    turn = orientation_of(image)
    if turn == 1:
        if not is_webp(image):
            return StoredPair(image, label)
        return StoredPair(
            codec.encode_image(_decode(image, origin), "png"), label, (("WebP images stored as PNG", ""),)
        )
    pixels = _decode(image, origin)
    upright = _turned(pixels, turn)
    changes = [("images turned upright as their orientation tag says", f"{turn}: {_HOW[turn]}")]
    if label is not None:
        ids = codec.decode_label(label, label_origin)
        if _lies_as_stored(ids.shape, pixels.shape[:2], upright.shape[:2], turn, origin, label_origin, orientation):
            label = codec.encode_label(_turned(ids, turn))
            changes.append(("labels turned with their images", ""))
    return StoredPair(codec.encode_image(upright, "png"), label, tuple(changes))


def stored_path(path: str, source: bytes, stored: bytes) -> str:
    """Return the path of an image, with the ending .png where it became a PNG."""
    return path if source is stored else str(PurePosixPath(path).with_suffix(".png"))


def orientation_of(image: bytes) -> int:
    """Return the orientation that EXIF or XMP data in an image ask for, 1..8; 1 is upright, or nothing is known."""
    try:
        if image.startswith(png.SIGNATURE):
            value = _of_png(image)
        elif is_webp(image):
            value = _of_pillow(WebPImageFile(io.BytesIO(image))) if b"EXIF" in image or b"XMP " in image else 1
        elif b"Exif\0" in image or b"tiff:Orientation" in image:
            value = _of_pillow(JpegImageFile(io.BytesIO(image)))
        else:
            return 1
    except _ERRORS:
        return 1  # damage is reported where pixels are decoded
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _of_pillow(image: Image.Image) -> object:
    return image.getexif().get(_TAG, 1)


def _of_png(data: bytes) -> object:
    """Look at the chunks of a PNG file, wherever they stand; its pixels are not decoded, as Pillow would."""
    xmp = 1
    position = len(png.SIGNATURE)
    while position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length] if kind in (b"eXIf", b"iTXt") else b""
        if kind == b"eXIf":
            exif = Image.Exif()
            exif.load(body)
            return exif.get(_TAG, 1)
        if body.startswith(b"XML:com.adobe.xmp\0") and (found := _XMP.search(body)):
            xmp = int(found[1])
        position += 12 + length
    return xmp


def _decode(image: bytes, origin: str) -> NDArray[np.uint8]:
    if not is_webp(image):
        return codec.decode_image(image, origin)
    try:
        file = WebPImageFile(io.BytesIO(image))
        width, height = file.size
        if width * height > MAX_PIXELS:
            raise OversizedError(
                f"{origin}: got an image of {width} x {height} pixels, expected at most {MAX_PIXELS} in all; cut or "
                "shrink it first"
            )
        frames = getattr(file, "n_frames", 1)
        if frames > 1:
            raise FormatError(f"{origin}: got a WebP file of {frames} frames, expected one; save one as an image")
        pixels = np.array(file.convert("RGBA"))
    except _ERRORS as error:
        raise DataError(
            f"{origin}: the WebP data is truncated or damaged ({error}); expected a complete image: copy or "
            "download it again"
        ) from error
    return codec.without_alpha(pixels, origin)


def _turned(pixels: _Array, orientation: int) -> _Array:
    if orientation >= 5:
        pixels = cast(_Array, pixels.swapaxes(0, 1))
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return cast(_Array, np.ascontiguousarray(pixels[::rows, ::columns]))


def _lies_as_stored(
    label: tuple[int, ...],
    stored: tuple[int, ...],
    shown: tuple[int, ...],
    turn: int,
    origin: str,
    label_origin: str,
    orientation: Orientation | None,
) -> bool:
    """Tell by its size whether a label has to be turned with its image."""
    if stored != shown:
        return label == stored
    if orientation is None and label == stored:
        raise UndecidableError(
            f"{origin} has an orientation tag ({turn}: {_HOW[turn]}), and nothing tells whether its label "
            f"{label_origin} lies as viewers show the picture or as its pixels are stored; say which, of all such "
            "pairs: --orientation shown or --orientation stored"
        )
    return orientation == "stored"
