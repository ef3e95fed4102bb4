"""Datasets that other tools wrote, read to be packed: Parquet in Hugging Face's image layout, webdataset archives.

Their paths are hints at best (missing, equal for image and label), so a row gets new ones, made from its key. That
keys differ across files is for the caller to check.
"""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dakpn import storage
from dakpn.datasets.formats.base import checked
from dakpn.datasets.formats.parquet import is_bytes, is_encoded_image, is_text, open_parquet, parquet_rows
from dakpn.datasets.formats.tar import TarMember
from dakpn.datasets.formats.webdataset import grouped_members, tar_rows
from dakpn.datasets.inventory import NAMED, Inventory, junk_reason
from dakpn.datasets.schema import Sample, key_from_path
from dakpn.errors import DataError
from dakpn.images.header import detect_source_format, holds_one_channel
from dakpn.wording import counted

SUFFIXES = (".parquet", ".tar")
"""Endings of the files that can be read, in lower case."""

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "mask", "segmentation", "annotation", "labels")
_KEY_COLUMNS = ("key", "__key__")
_LABEL_NAMES = ("label", "seg", "mask", "gt", "segmentation", "annotation")
_PHOTOS = ("jpg", "jpeg", "jpe", "jfif", "webp")
_ENDINGS = (
    {"png": "png"}
    | dict.fromkeys(_PHOTOS, "image")
    | {f"image.{extension}": "image" for extension in ("png", *_PHOTOS)}
    | {f"{name}.png": "label" for name in _LABEL_NAMES}
)
_EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_IMAGES = frozenset("png jpg jpeg jpe jfif webp avif heic bmp tif tiff ppm pgm pnm jp2 gif exr".split())  # noqa: SIM905
"""Endings of members that hold an image or a label map, whether they can be read or not."""
_LIKE_A_LABEL = re.compile(r"seg|mask|label|annot|semantic|target|(^|_)(gt|class|classes|ids?)($|_)", re.IGNORECASE)
_ARRAYS = frozenset(("npy", "npz", "mat", "tar", "zip", "parquet"))
_PNG_HEAD = 29


@dataclass
class Survey:
    """What a file of another tool holds.

    Attributes:
        rows: Number of rows.
        labelled: So many of them have a label.
        with_label, without_label: Keys of the first few rows of either kind.
        colored: Rows whose image is no PNG of one channel.
        grey_keys: Rows that are one PNG of one channel, as a label map is.
        beside: Those of them whose name is that of another row and more: KEY_mask beside KEY.
        unused: Names of members and columns that look like labels, where no label is taken.
        arrays: Names of members that hold arrays, where no label is taken.
        inventory: What else there is.
    """

    rows: int = 0
    labelled: int = 0
    with_label: list[str] = field(default_factory=list)
    without_label: list[str] = field(default_factory=list)
    colored: int = 0
    grey_keys: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    arrays: list[str] = field(default_factory=list)
    inventory: Inventory = field(default_factory=Inventory)

    def count(self, key: str, labelled: bool) -> None:
        """Count a row."""
        self.rows += 1
        self.labelled += labelled
        some = self.with_label if labelled else self.without_label
        if len(some) < NAMED:
            some.append(key)


def read_foreign(uri: str, leave_out: Set[str] = frozenset()) -> Iterator[Sample]:
    """Yield the samples of a file in their order, holding a few at a time.

    Parquet needs the column `image` (or `img`), and takes a label from `label`, `mask`, `segmentation`,
    `annotation` or `labels`, each a struct<bytes, path> or binary; a key from `key` (text or integers), or else from
    the image's path (its last part if it is absolute), or else from the file's name and the row's number; paths are
    never opened.

    An archive needs `KEY.png`, `KEY.jpg` or `KEY.image.*`, and takes a label from `KEY.label.png` (or `seg`, `mask`,
    `gt`, `segmentation`, `annotation`), or from a `KEY.png` beside a JPEG image. A key ends at the first dot of the
    name.

    Args:
        uri: URI of the file.
        leave_out: Keys of rows to leave out.

    Raises:
        StorageError: The file does not exist or cannot be read.
        DataError: It is damaged, not laid out so, holds images that would be left out, or a key that is unsafe or
            occurs twice.
    """
    samples = _from_tar(uri) if is_archive(uri) else _from_parquet(uri)
    yield from checked((sample for sample in samples if sample.key not in leave_out), uri)


def survey_foreign(uri: str) -> Survey:
    """Look at all rows of a file without reading their images. Raises like `read_foreign`."""
    return _survey_tar(uri) if is_archive(uri) else _survey_parquet(uri)


def is_archive(uri: str) -> bool:
    """Tell whether a file is an archive, by its ending."""
    return uri.lower().endswith(".tar")


def is_metadata(uri: str) -> bool:
    """Tell whether a Parquet file holds no images, but what is known of some elsewhere. Raises like `read_foreign`."""
    if is_archive(uri):
        return False
    with open_parquet(uri) as file:
        schema = file.schema_arrow
        return not any(is_encoded_image(column.type) for column in schema) and not _find_column(schema, _IMAGE_COLUMNS)


# ---- archives


def _from_tar(uri: str) -> Iterator[Sample]:
    for key, fields in tar_rows(uri, _ENDINGS):
        image = fields.get("image", fields.get("png"))
        label = fields.get("label", fields.get("png") if "image" in fields else None)
        yield _sample(key, image, label, uri)


def _survey_tar(uri: str) -> Survey:
    """Count rows and members; refuse an archive where images would be lost."""
    survey = Survey()
    members: dict[str, str] = {}  # name -> key, of images and labels that are not taken
    keys: set[str] = set()
    labelled: set[str] = set()
    grey: dict[str, None] = {}

    arrays: dict[str, str] = {}

    def note(name: str) -> None:
        folder, slash, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        kind = ending.rpartition(".")[2].lower()
        if junk := junk_reason(name):
            survey.inventory.leave(junk, name)
        elif kind in _IMAGES:
            # `a.0001.png` is frame 1 of `a`, whatever else there is of `a`; `a.depth.png` belongs to the row `a`.
            members[name] = folder + slash + (file if ending[:1].isdecimal() else stem)
        elif kind in _ARRAYS:
            survey.inventory.leave("arrays and archives among the members", name, data=True)
            arrays[name] = folder + slash + stem
        else:
            survey.inventory.leave("other members", name)

    def take(member: TarMember) -> TarMember:
        return member

    with storage.open_input(uri) as file:
        for key, fields in grouped_members(file, uri, _ENDINGS, take, note):
            if key in keys:
                raise DataError(
                    f"{uri}: the members of the row {key!r} do not follow each other, or there are two such rows; "
                    "expected those of a row side by side: pack the archive again with `tar --sort=name`"
                )
            keys.add(key)
            has_label = "label" in fields or {"image", "png"} <= fields.keys()
            survey.count(key, has_label)
            survey.inventory.take("images", "image" in fields or "png" in fields)
            survey.inventory.take("labels", has_label)
            if has_label:
                labelled.add(key)
            if {"image", "png", "label"} <= fields.keys():
                survey.inventory.leave("second labels of a row", fields["png"].name, data=True)
            lone_png = fields.get("png") if "image" not in fields and not has_label else None
            if lone_png is not None and holds_one_channel(lone_png.head(_PNG_HEAD)):
                grey[key] = None
            else:
                survey.colored += 1
    if lost := [name for name, key in members.items() if key not in keys]:
        few = "member looks like an image and has a name that is not taken"
        many = "members look like images and have names that are not taken"
        raise DataError(
            f"{uri}: {counted(len(lost), few, many)}, such as "
            f"{', '.join(map(repr, lost[:NAMED]))}; expected KEY.png, KEY.jpg or KEY.jpeg, where KEY ends at the first "
            "dot: rename or convert them, or unpack the archive and pack the folder"
        )
    for name, key in members.items():
        survey.inventory.leave("images and labels of other names", name, data=True)
        if key not in labelled:
            survey.unused.append(name)
    survey.arrays = [name for name, key in arrays.items() if key in keys - labelled]
    survey.grey_keys = list(grey)
    survey.beside = [key for key in grey if is_named_after(key, keys)]
    return survey


def is_named_after(key: str, keys: Set[str]) -> bool:
    """Tell whether a key is another one and a word more, such as KEY_mask or KEY-labelIds."""
    start = key.rfind("/") + 1
    return any(key[:end] in keys for end in range(start + 1, len(key)) if key[end] in "_-")


# ---- tables


@dataclass(frozen=True)
class _Columns:
    key: str | None
    image: str
    label: str | None
    unused: list[str]  # names of columns that hold bytes or images
    others: list[str]


def _columns(schema: pa.Schema, uri: str) -> _Columns:
    image = _find_column(schema, _IMAGE_COLUMNS)
    if image is None:
        found = ", ".join(f"{column.name}: {column.type}" for column in schema)
        named = (*_LABEL_COLUMNS, *_IMAGE_COLUMNS)
        candidates = [column.name for column in schema if _holds_images(column.type) and column.name not in named]
        way = f"; rename {candidates[0]} to image if that is it" if candidates else "; write it anew with one"
        raise DataError(
            f"{uri} has the columns {found}; expected a column image: struct<bytes: binary, path: string>{way}"
        )
    label = _find_column(schema, _LABEL_COLUMNS)
    key = next((name for name in _KEY_COLUMNS if name in schema.names and _is_key(schema.field(name).type)), None)
    rest = [column for column in schema if column.name not in (key, image, label)]
    unused = [column.name for column in rest if _holds_images(column.type)]
    return _Columns(key, image, label, unused, [column.name for column in rest if column.name not in unused])


def _is_key(kind: pa.DataType) -> bool:
    return is_text(kind) or pa.types.is_integer(kind)


def _holds_images(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_encoded_image(kind) or is_bytes(kind) or (is_list and _holds_images(kind.value_type))


def _from_parquet(uri: str) -> Iterator[Sample]:
    with open_parquet(uri) as file:
        columns = _columns(file.schema_arrow, uri)
        key, image, label = columns.key, columns.image, columns.label
        stem = uri.rpartition("/")[2].partition(".")[0]
        paths: set[str] = set()
        for number, row in enumerate(parquet_rows(file, [name for name in (key, image, label) if name])):
            encoded, path = _encoded(row[image])
            if key:
                if row[key] is None:
                    raise DataError(f"{uri}: row {number} has no {key}, expected one as other rows have; add it")
                name = str(row[key])
            else:
                name = _key_of(path, uri) if path else f"{stem}/{number:08d}"
                if path and name in paths:
                    raise DataError(
                        f"{uri}: two rows have the path {path!r}, of which their key {name!r} is made; expected one: "
                        "add a column key that tells them apart, or take the paths away"
                    )
                paths.add(name)
            yield _sample(name, encoded, _encoded(row[label])[0] if label else None, uri)


def _survey_parquet(uri: str) -> Survey:
    survey = Survey()
    file_name = uri.rpartition("/")[2]
    with open_parquet(uri) as file:
        columns = _columns(file.schema_arrow, uri)
        read = [name for name in (columns.key, columns.label) if name]
        if columns.label:
            for number, row in enumerate(parquet_rows(file, read)):
                key = str(row[columns.key]) if columns.key else f"row {number} of {file_name}"
                survey.count(key, _encoded(row[columns.label])[0] is not None)
        else:
            survey.rows = file.metadata.num_rows
            survey.without_label = [f"all of {file_name}"] if survey.rows else []
            _find_label_maps(file, columns, survey, uri)
        survey.colored = survey.rows - len(survey.grey_keys)
    survey.inventory.take("images", survey.rows)
    survey.inventory.take("labels", survey.labelled)
    for name in columns.unused:
        survey.inventory.leave("columns of bytes or images", f"{file_name}: {name}", data=True)
    for name in columns.others:
        survey.inventory.leave("other columns", f"{file_name}: {name}")
    survey.unused = [] if survey.labelled else [name for name in columns.unused if _LIKE_A_LABEL.search(name)]
    return survey


def _find_label_maps(file: pq.ParquetFile, columns: _Columns, survey: Survey, uri: str) -> None:
    """Note the images that look like label maps. Images are read only if some are named as another and a word more."""
    if columns.key:
        read = [columns.key]
    elif pa.types.is_struct(kind := file.schema_arrow.field(columns.image).type) and "path" in {f.name for f in kind}:
        read = [f"{columns.image}.path"]
    else:
        return
    names: list[str] = []
    for row in parquet_rows(file, read):
        path = None if columns.key else _encoded(row[columns.image])[1]
        names.append(str(row[columns.key]) if columns.key else _key_of(path, uri) if path else "")
    known = set(names)
    beside = {number for number, name in enumerate(names) if is_named_after(name, known)}
    if not beside:
        return
    for number, row in enumerate(parquet_rows(file, [columns.image])):
        if number in beside and holds_one_channel(_encoded(row[columns.image])[0] or b""):
            survey.grey_keys.append(names[number])
            survey.beside.append(names[number])


def _key_of(path: str, uri: str) -> str:
    if path.startswith("/") or "\\" in path:  # of the machine where the file was written
        path = PureWindowsPath(path).name
    try:
        return key_from_path(path.removeprefix("./"))
    except DataError as error:
        raise DataError(f"{uri}: {error}") from error


def _find_column(schema: pa.Schema, names: tuple[str, ...]) -> str | None:
    """Return the first of the columns that holds encoded images; a `label` may well be a class number."""
    present = [name for name in names if name in schema.names]
    kinds = {name: schema.field(name).type for name in present}
    return next((name for name, kind in kinds.items() if is_encoded_image(kind) or is_bytes(kind)), None)


def _encoded(value: Any) -> tuple[bytes | None, str | None]:
    """Return bytes and path of an image column's value."""
    return (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)


def _sample(key: str, image: bytes | None, label: bytes | None, uri: str) -> Sample:
    if image is None:
        raise DataError(
            f"{uri}: the row {key!r} has no image (or only the path of one); expected its encoded bytes, PNG or JPEG"
        )
    extension = _EXTENSIONS[detect_source_format(image, f"{uri}: {key}")]
    return Sample(key, image, f"images/{key}.{extension}", label, f"labels/{key}.png" if label is not None else None)
