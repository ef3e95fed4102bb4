"""Images of a dataset on disk paired with their labels; label files that no network can use become usable ones."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dakpn.errors import DataError, FormatError, UsageError
from dakpn.images import codec
from dakpn.sources.label_reading import LabelFormat, LabelReader, ReadLabel
from dakpn.sources.layout import Layout, SourceImage
from dakpn.sources.legends import read_image_legend
from dakpn.sources.source_path import SourcePath, name_below, read_file

_CELEBAMASK_IMAGES_PER_FOLDER = 2000


class LabelPart(NamedTuple):
    """A mask file, and the class id of the pixels that are not 0 in it."""

    class_id: int
    path: SourcePath


class SourcePair(NamedTuple):
    """An image and its label on disk, and the key of the row that they become.

    Attributes:
        key: Key of the row.
        image_path: The image file.
        label_path: The label file, or where it would be if it is made from `label_parts`; None without a label.
        label_format: What the label files hold.
        label_parts: The masks that a "celebamask_parts" label is made from, in the order in which they are laid
            over each other.
        label_reader: How the label file is read; None reads its format without knowing any colors.
        legend_path: The file that says what colors or ids in this label mean; None where all labels mean the same.
    """

    key: str
    image_path: SourcePath
    label_path: SourcePath | None
    label_format: LabelFormat = "class_ids"
    label_parts: tuple[LabelPart, ...] = ()
    label_reader: LabelReader | None = None
    legend_path: SourcePath | None = None

    @property
    def files(self) -> tuple[SourcePath, ...]:
        """The files that image and label are made from."""
        if self.label_parts:
            return (self.image_path, *(part.path for part in self.label_parts))
        return tuple(path for path in (self.image_path, self.label_path, self.legend_path) if path is not None)

    @property
    def reader(self) -> LabelReader:
        """How the label file is read."""
        return self.label_reader or LabelReader(self.label_format)

    def read_label(self, image_size: tuple[int, int]) -> ReadLabel:
        """Return the encoded label: the original file where a net can use it, else a PNG of its class ids.

        A file that has a single channel is mostly taken as it is, see `LabelReader`. Merged parts are enlarged to
        `image_size`, (height, width), if that is a whole multiple of theirs (CelebAMask-HQ: 512 to 1024); each
        pixel then becomes a square of equal ids and nothing is lost.

        Raises:
            DataError: A file that is not of the format.
            StorageError: A file that cannot be read.
            UsageError: A decoder is missing.
            ValueError: The pair has no label.
        """
        if self.label_path is None:
            raise ValueError(f"{self.key} has no label")
        if self.label_format == "celebamask_parts":
            merged = codec.encode_label(_enlarged(_merge_parts(self.label_parts), image_size))
            return ReadLabel(merged, (("labels merged from parts", ""),))
        reader = self.reader
        if self.legend_path is not None:
            reader = reader.by_legend(read_image_legend(self.legend_path))
        return reader.read(read_file(self.label_path), str(self.label_path))


class CelebAMaskParts:
    """Finds the mask files FOLDER/K/NNNNN_PART.png of image N, K = N // 2000; each folder is listed once."""

    def __init__(self, folder: SourcePath, part_ids: dict[str, int]) -> None:
        self._folder = folder
        self._part_ids = part_ids
        self._listed: dict[SourcePath, frozenset[str]] = {}

    def of(self, image_path: SourcePath) -> tuple[LabelPart, ...]:
        """Return the masks of an image in the order of the part ids; a face has no hat, say, so many miss some.

        Raises:
            UsageError: The image has no number for a name, or no mask at all.
        """
        name = image_path.stem
        if not (name.isascii() and name.isdecimal()):
            raise UsageError(f"{image_path}: expected an image named by its number, such as 0.jpg; rename or remove it")
        number = int(name)
        folder = self._folder / str(number // _CELEBAMASK_IMAGES_PER_FOLDER)
        there = self._list(folder)
        names = [(class_id, f"{number:05d}_{part}.png") for part, class_id in self._part_ids.items()]
        parts = tuple(LabelPart(class_id, folder / name) for class_id, name in names if name in there)
        if not parts:
            raise UsageError(
                f"{image_path} has no label; expected {folder}/{number:05d}_PART.png: add it, take the image away, or "
                "pack without labels"
            )
        return parts

    def _list(self, folder: SourcePath) -> frozenset[str]:
        if folder not in self._listed:
            names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
            self._listed[folder] = frozenset(names)
        return self._listed[folder]


def _merge_parts(parts: tuple[LabelPart, ...]) -> NDArray[np.uint8]:
    label: NDArray[np.uint8] | None = None
    for part in parts:
        mask = _read_mask(part.path)
        if label is None:
            label = np.zeros(mask.shape, np.uint8)
        if mask.shape != label.shape:
            raise DataError(
                f"{part.path}: got a mask of {mask.shape[1]} x {mask.shape[0]} pixels, expected {label.shape[1]} x "
                f"{label.shape[0]} as the other parts of that face; replace it"
            )
        label[mask] = part.class_id
    if label is None:
        raise ValueError("got a label of no parts")
    return label


def _read_mask(path: SourcePath) -> NDArray[np.bool_]:
    data = read_file(path)
    if codec.image_format(data, str(path)) != "png":
        raise FormatError(f"{path}: got a JPEG mask, expected PNG, for JPEG blurs its edge; get the original")
    return codec.decode_image(data, str(path)).max(axis=2) > 0


def _enlarged(label: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = label.shape
    factor = size[0] // height
    if factor <= 1 or size != (factor * height, factor * width):
        return label  # a size that does not fit is reported where sizes are checked
    return label.repeat(factor, axis=0).repeat(factor, axis=1)


class Refusal(NamedTuple):
    """An image that cannot become a row: which key it has or would have, and why."""

    kind: Literal["bad_name", "missing_label", "duplicate_key"]
    key: str
    path: SourcePath
    error: UsageError


def raise_refusal(refusal: Refusal) -> NoReturn:
    """Stop at a refused image. Raises `UsageError`."""
    raise refusal.error


class LabelFinder:
    """The labels of images: those where they should lie, or else of a name that looks the same.

    Tools write an accented letter as one character or as two (NFC, NFD), and an ending in capitals.
    """

    def __init__(self, root: SourcePath, layout: Layout, images: Sequence[SourceImage], split: str | None) -> None:
        self._root, self._layout, self._images, self._split = root, layout, images, split

    def of(self, image: SourceImage, made: bool) -> SourcePath | None:
        """Return the label of an image, or where it should lie or, if it is `made` from parts, would; None without."""
        label = self._layout.label_path(self._root, image)
        if label is None or made or label.is_file():
            return label
        found = self._by_look.get(_look(name_below(label, self._root)), ())
        alike = [path for path in found if path not in self._owned]
        return alike[0] if len(alike) == 1 else label

    def instead_of(self, label: SourcePath) -> str:
        """Return words on files of the same name with another ending, where a label should lie."""
        name = name_below(label, self._root)
        folder = self._root / name.rpartition("/")[0] if "/" in name else self._root
        there = folder.iterdir() if folder.is_dir() else ()
        found = [path.name for path in there if path.stem.casefold() == label.stem.casefold()]
        return f" (there is {', '.join(sorted(found))}, which is not read as a label)" if found else ""

    @cached_property
    def _by_look(self) -> Mapping[str, list[SourcePath]]:
        found: dict[str, list[SourcePath]] = {}
        for _, path in self._layout.find_labels(self._root, self._split):
            found.setdefault(_look(name_below(path, self._root)), []).append(path)
        return found

    @cached_property
    def _owned(self) -> set[SourcePath | None]:
        """The labels that lie where those of some image should."""
        return {self._layout.label_path(self._root, image) for image in self._images}


def _look(name: str) -> str:
    """Return what is equal for names that look the same: letters as one character each, the ending in small ones."""
    stem, dot, ending = unicodedata.normalize("NFC", name).rpartition(".")
    return stem + dot + ending.lower()


def is_version_of(name: str, names: set[str]) -> bool:
    """Tell whether a label's name is that of an image and more: NAME_labelTrainIds, beside NAME_labelIds."""
    words = name.rpartition("/")[2].split("_")
    return any("_".join(words[:count]) in names for count in range(1, len(words)))


def require_unique_keys(pairs: list[SourcePair], refuse: Callable[[Refusal], None]) -> list[SourcePair]:
    """Return the pairs sorted by key; `refuse` is called with each whose key another one has."""
    pairs = sorted(pairs, key=lambda pair: (pair.key, pair.image_path))
    for one, other in pairwise(pairs):
        if one.key == other.key:
            error = UsageError(
                f"{one.image_path} and {other.image_path} would both get the key {one.key!r}; "
                "expected one image for each key: rename one of them"
            )
            refuse(Refusal("duplicate_key", one.key, other.image_path, error))
    return pairs
