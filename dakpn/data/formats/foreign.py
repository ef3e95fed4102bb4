"""Datasets that other tools wrote, read to be packed: Parquet in Hugging Face's image layout, webdataset archives.

Their paths are hints at best (missing, equal for image and label), so a row gets new ones, made from its key. That
keys differ across files is for the caller to check.
"""

import logging
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Any

import pyarrow as pa

from dakpn.data import storage
from dakpn.data.formats.base import checked
from dakpn.data.formats.parquet import is_bytes, is_encoded_image, is_text, open_parquet, parquet_rows
from dakpn.data.formats.webdataset import tar_rows
from dakpn.data.image_header import detect_format
from dakpn.data.schema import Sample, key_from_path
from dakpn.errors import DataError

logger = logging.getLogger(__name__)

SUFFIXES = (".parquet", ".tar")
"""Endings of the files that can be read."""

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "mask", "segmentation", "annotation", "labels")
_KEY_COLUMNS = ("key", "__key__")
_LABEL_NAMES = ("label", "seg", "mask", "gt", "segmentation", "annotation")
_ENDINGS = (
    {"png": "png", "jpg": "image", "jpeg": "image"}
    | {f"image.{extension}": "image" for extension in ("png", "jpg", "jpeg")}
    | {f"{name}.png": "label" for name in _LABEL_NAMES}
)
_EXTENSIONS = {"png": "png", "jpeg": "jpg"}
_IMAGES = frozenset("png jpg jpeg jpe jfif webp avif heic bmp tif tiff ppm pgm pnm jp2".split())  # noqa: SIM905
"""Endings of members that hold an image or a label map, whether they can be read or not."""


def read_foreign(uri: str) -> Iterator[Sample]:
    """Yield the samples of a file in their order, holding a few at a time.

    Parquet needs the column `image` (or `img`), and takes a label from `label`, `mask`, `segmentation`,
    `annotation` or `labels`, each a struct<bytes, path> or binary; a key from `key`, or else from the image's path
    (its last part if it is absolute), or else from the file's name and the row's number; paths are never opened.

    An archive needs `KEY.png`, `KEY.jpg` or `KEY.image.*`, and takes a label from `KEY.label.png` (or `seg`, `mask`,
    `gt`, `segmentation`, `annotation`), or from a `KEY.png` beside a JPEG image. A key ends at the first dot of the
    name. Images and arrays that are not taken are named: in the log where their key has an image, else as an error.

    Raises:
        StorageError: The file does not exist or cannot be read.
        DataError: It is damaged, not laid out so, holds images that would be left out, or a key that is unsafe or
            occurs twice.
    """
    samples = _from_tar(uri) if uri.endswith(".tar") else _from_parquet(uri)
    yield from checked(samples, uri)


def count_foreign(uri: str) -> int:
    """Return the number of rows of a file; an archive has to be read for it. Raises like `read_foreign`."""
    if uri.endswith(".tar"):
        return sum(1 for _ in _rows_of_tar(uri))
    with open_parquet(uri) as file:
        return file.metadata.num_rows


def _from_tar(uri: str) -> Iterator[Sample]:
    for key, fields in _rows_of_tar(uri):
        image = fields.get("image") or fields.get("png")
        label = fields.get("label") or (fields.get("png") if "image" in fields else None)
        yield _sample(key, image, label, uri)


def _rows_of_tar(uri: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """As `tar_rows`; members that look like data and are not taken are logged, or refused where a row would be lost."""
    left_out: dict[str, str] = {}  # name -> key
    keys = set()

    def note(name: str) -> None:
        folder, slash, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        if ending.rpartition(".")[2].lower() in _IMAGES:
            # `a.0001.png` is frame 1 of `a`, whatever else there is of `a`; `a.depth.png` belongs to the row `a`.
            left_out[name] = folder + slash + (file if ending[:1].isdecimal() else stem)

    for key, fields in tar_rows(uri, _ENDINGS, note):
        keys.add(key)
        yield key, fields
    if lost := [name for name, key in left_out.items() if key not in keys]:
        raise DataError(
            f"{uri}: {len(lost)} members look like images and have names that are not taken, such as "
            f"{', '.join(map(repr, lost[:3]))}; expected KEY.png, KEY.jpg or KEY.jpeg, where KEY ends at the first "
            "dot: rename or convert them, or unpack the archive and pack the folder"
        )
    if left_out:
        logger.warning("%s: %d members are not taken, such as %s", uri, len(left_out), ", ".join([*left_out][:3]))


def _from_parquet(uri: str) -> Iterator[Sample]:
    with open_parquet(uri) as file:
        schema = file.schema_arrow
        image = _find_column(schema, _IMAGE_COLUMNS)
        if image is None:
            found = ", ".join(f"{column.name}: {column.type}" for column in schema)
            raise DataError(
                f"{uri} has the columns {found}; expected a column image: struct<bytes: binary, path: string>"
            )
        label = _find_column(schema, _LABEL_COLUMNS)
        key = next((name for name in _KEY_COLUMNS if name in schema.names and is_text(schema.field(name).type)), None)
        _name_what_is_left(schema, {image, label}, uri)
        stem = uri.rpartition("/")[2].partition(".")[0]
        for number, row in enumerate(parquet_rows(file, [name for name in (key, image, label) if name])):
            encoded, path = _encoded(row[image])
            name = row[key] or "" if key else _key_of(path, uri) if path else f"{stem}/{number:08d}"
            yield _sample(name, encoded, _encoded(row[label])[0] if label else None, uri)


def _key_of(path: str, uri: str) -> str:
    if path.startswith("/") or "\\" in path:  # of the machine where the file was written
        path = PureWindowsPath(path).name
    try:
        return key_from_path(path)
    except DataError as error:
        raise DataError(f"{uri}: {error}") from error


def _find_column(schema: pa.Schema, names: tuple[str, ...]) -> str | None:
    """Return the first of the columns that holds encoded images; a `label` may well be a class number."""
    present = [name for name in names if name in schema.names]
    kinds = {name: schema.field(name).type for name in present}
    return next((name for name, kind in kinds.items() if is_encoded_image(kind) or is_bytes(kind)), None)


def _name_what_is_left(schema: pa.Schema, taken: set[str | None], uri: str) -> None:
    """Log the columns that may hold images and are not taken: one of them may be the label under another name."""

    def holds_images(kind: pa.DataType) -> bool:
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return is_encoded_image(kind) or is_bytes(kind) or (is_list and holds_images(kind.value_type))

    left = [column.name for column in schema if column.name not in taken and holds_images(column.type)]
    if left:
        logger.warning(
            "%s: the columns %s hold bytes or images and are not taken; a label is read from %s",
            uri, ", ".join(left), ", ".join(_LABEL_COLUMNS),
        )  # fmt: skip


def _encoded(value: Any) -> tuple[bytes | None, str | None]:
    """Return bytes and path of an image column's value."""
    return (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)


def _sample(key: str, image: bytes | None, label: bytes | None, uri: str) -> Sample:
    if image is None:
        raise DataError(
            f"{uri}: the row {key!r} has no image (or only the path of one); expected its encoded bytes, PNG or JPEG"
        )
    extension = _EXTENSIONS[detect_format(image, f"{uri}: {key}")]
    return Sample(key, image, f"images/{key}.{extension}", label, f"labels/{key}.png" if label is not None else None)


def list_foreign(folder: str) -> list[str]:
    """Return the URIs of the files of one kind directly in a folder, Parquet before archives. Raises `StorageError`."""
    return next((found for suffix in SUFFIXES if (found := storage.list_files(folder, suffix))), [])
