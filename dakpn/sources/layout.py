"""Where a dataset keeps its images and labels below its folder, as path patterns: `images/{split}/{name}.*`."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from dakpn.datasets.inventory import is_left_out
from dakpn.datasets.schema import validate_path
from dakpn.errors import DataError, UsageError
from dakpn.sources.source_path import SourcePath, files_below, name_below

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp")
"""What `.*` at the end of a pattern for images stands for."""
UNREADABLE_SUFFIXES = (
    *(".avif", ".bmp", ".exr", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".pgm", ".pnm", ".ppm"),
    *(".qoi", ".tga", ".tif", ".tiff"),
)
"""Images of formats that are not read. `.*` finds them too, so that they are refused by name and not passed over."""
UNUSUAL_SUFFIXES = (
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2", ".dds", ".hdr", ".jif", ".pbm", ".pfm"),
    *(".pjp", ".pjpeg", ".psd", ".svg"),
)
"""Images that often lie beside those that are meant, as raw files do: left out, and named."""

_PATTERN = re.compile(
    r"(?P<before>(?:[^/{}]+/)*?)(?:(?P<split>\{split\})/)?(?P<inside>(?:[^/{}]+/)*)(?P<prefix>[^/{}]*)\{name\}"
    r"(?P<suffix>[^/{}]*\.[^/{}]+)"
)


class SourceImage(NamedTuple):
    """An image file and what its path means; `split` is empty for an image that lies in no split folder."""

    path: SourcePath
    split: str
    name: str


class Layout(BaseModel):
    """A layout on disk, as patterns relative to the dataset's folder.

    `{name}` stands for any path, folders included; a suffix follows it, of images in any case. What stands before it
    in its part is how files begin: `rgb_{name}.png` finds `a/rgb_1.png`, which has the name `a/1`. `{split}` stands for
    one folder; where `{name}` follows at once, files may also lie in no split folder.

    Attributes:
        images: Pattern of the images; `.*` at its end stands for `IMAGE_SUFFIXES`.
        labels: Pattern of the label that belongs to split and name of an image; None where there are no labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str
    labels: str | None = None

    @field_validator("images", "labels")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            validate_path(pattern)
        except DataError as error:
            raise ValueError(str(error)) from error
        if not _PATTERN.fullmatch(pattern) or "*" in pattern.removesuffix(".*"):
            raise ValueError(
                "expected folders, at most one of them {split}, and last {name} with a suffix, "
                "such as images/{split}/{name}.png"
            )
        return pattern

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if self.labels is not None:
            if self.labels == self.images:
                raise ValueError("images and labels have the same pattern; give each its own")
            if "*" in self.labels:
                raise ValueError("the pattern of labels holds '*'; name the one suffix that they have, such as .png")
            if "{split}" in self.labels and "{split}" not in self.images:
                raise ValueError("the pattern of labels has a {split}, that of images has none; write it in both")
        return self

    @property
    def images_folder_name(self) -> str:
        """The folder that all images lie below, relative to the dataset's; empty if it is that one."""
        return _parts(self.images).before.rstrip("/")

    @property
    def labels_folder_name(self) -> str:
        """The folder that all labels lie below; empty if it is the dataset's, or there are none."""
        return _parts(self.labels).before.rstrip("/") if self.labels else ""

    def images_folder(self, root: SourcePath) -> SourcePath:
        """Return the folder that all images lie below."""
        return root / _parts(self.images).before

    def has_split_folders(self) -> bool:
        """Return whether images can lie in split folders."""
        return _parts(self.images).split

    def find_splits(self, root: SourcePath) -> list[str]:
        """Return the names of the split folders below `root`, sorted."""
        parts = _parts(self.images)
        if not parts.split:
            return []
        folder = root / parts.before
        return sorted(
            path.name for path in folder.iterdir() if (path / parts.inside).is_dir() and not is_left_out(path.name)
        )

    def split_folder(self, root: SourcePath, split: str) -> SourcePath:
        """Return the folder that the images of one split lie below."""
        parts = _parts(self.images)
        return root / parts.before / split / parts.inside

    def find_images(self, root: SourcePath, split: str | None) -> Iterator[SourceImage]:
        """Yield the images below `root`, of one split or of all, in no order; a label file is none of them."""
        for folder in self._searched(self.images, root, split):
            for path in files_below(folder):
                found = self._as_image(name_below(path, root))
                if found:
                    groups = found.groupdict()
                    yield SourceImage(path, groups.get("split") or "", _name(found))

    def label_path(self, root: SourcePath, image: SourceImage) -> SourcePath | None:
        """Return where the label of an image should lie; None where there are no labels."""
        if self.labels is None:
            return None
        parts = _parts(self.labels)
        split = f"{image.split}/" if parts.split and image.split else ""
        folders, slash, rest = image.name.rpartition("/")
        return root / f"{parts.before}{split}{parts.inside}{folders}{slash}{parts.prefix}{rest}{parts.suffix}"

    def find_labels(self, root: SourcePath, split: str | None) -> Iterator[tuple[str, SourcePath]]:
        """Yield the labels below `root`, of one split or of all, in no order, each with its {name}."""
        for folder in self._searched(self.labels, root, split) if self.labels else ():
            for path in files_below(folder):
                name = name_below(path, root)
                found = _expression(self.labels or "").fullmatch(name)
                if found and not self._as_image(name):
                    yield _name(found), path

    def labels_folder(self, root: SourcePath, split: str | None) -> SourcePath | None:
        """Return the folder that the labels of one split, or of all, lie below; None where there are no labels."""
        if self.labels is None:
            return None
        parts = _parts(self.labels)
        return root / parts.before / (f"{split}/{parts.inside}" if split and parts.split else "")

    def has_labels(self, root: SourcePath, split: str | None) -> bool:
        """Return whether there is a folder of labels or, where they lie beside the images, any label."""
        if self.labels is None:
            return False
        folders = list(self._searched(self.labels, root, split))
        if not set(folders) & set(self._searched(self.images, root, split)):
            return bool(folders)
        return next(self.find_labels(root, split), None) is not None

    def split_of_image(self, name: str) -> str | None:
        """Return the split, or an empty text, of the image with this name below the dataset; None if it is none."""
        found = self._as_image(name)
        return None if found is None else found.groupdict().get("split") or ""

    def name_of_label(self, name: str) -> str | None:
        """Return the {name} of the label with this name below the dataset; None if it is none."""
        found = None if self.labels is None else _expression(self.labels).fullmatch(name)
        return None if found is None else _name(found)

    def label_stem(self, file_name: str) -> str | None:
        """Return the last part of the {name} of a label file, by its file name alone; None if it is none."""
        parts = _parts(self.labels) if self.labels else None
        if parts is None or not (file_name.startswith(parts.prefix) and file_name.endswith(parts.suffix)):
            return None
        return file_name.removeprefix(parts.prefix).removesuffix(parts.suffix)

    def _as_image(self, name: str) -> re.Match[str] | None:
        found = _expression(self.images).fullmatch(name)
        if not found or self.labels is None or _literals(self.labels) <= _literals(self.images):
            return found
        # The pattern that says more decides: NAME_seg.png is a label beside NAME.png, NAME_rgb.png no label NAME.png.
        return None if _expression(self.labels).fullmatch(name) else found

    def _searched(self, pattern: str, root: SourcePath, split: str | None) -> Iterator[SourcePath]:
        parts = _parts(pattern)
        folder = root / parts.before
        if not parts.split or (split is None and not parts.inside):
            folders = [folder]
        elif split is not None:
            folders = [folder / split / parts.inside]
        else:
            splits = [path for path in folder.iterdir() if not is_left_out(path.name)] if folder.is_dir() else []
            folders = [path / parts.inside for path in splits]
        yield from (path for path in folders if path.is_dir())


def require_folder(folder: SourcePath, role: str, known: list[str] | None = None) -> SourcePath:
    """Return an existing folder.

    Raises:
        UsageError: It does not exist; the message says what was expected there, and the `known` alternatives.
    """
    if folder.is_dir():
        return folder
    choice = f" (there are: {', '.join(known)})" if known else ""
    raise UsageError(f"the folder {folder} does not exist; expected {role} there{choice}: check the path")


class _Parts(NamedTuple):
    before: str
    split: bool
    inside: str
    prefix: str
    suffix: str


@lru_cache(maxsize=64)
def _parts(pattern: str) -> _Parts:
    found = _PATTERN.fullmatch(pattern)
    if found is None:  # validated before
        raise ValueError(f"got the pattern {pattern!r}")
    if found["split"] is None:
        return _Parts(found["before"] + found["inside"], False, "", found["prefix"], found["suffix"])
    return _Parts(found["before"], True, found["inside"], found["prefix"], found["suffix"])


def _literals(pattern: str) -> int:
    parts = _parts(pattern)
    return len(parts.before + parts.inside + parts.prefix + parts.suffix.removesuffix(".*"))


def _name(found: re.Match[str]) -> str:
    """Return the {name} of a file, without what stands before it in its part."""
    return (found["folders"] or "") + found["rest"]


@lru_cache(maxsize=64)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = _parts(pattern)
    split = r"(?P<split>[^/]+)/"
    if not parts.split:
        split = ""
    elif not parts.inside:
        split = f"(?:{split})?"
    stem, any_suffix = re.escape(parts.suffix.removesuffix(".*")), ""
    if parts.suffix.endswith(".*"):
        any_suffix = f"(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES + UNREADABLE_SUFFIXES))})"
    # A name may hold a line feed: it is refused where keys are made, and not passed over here.
    name = f"(?P<folders>.*/)?{re.escape(parts.prefix)}(?P<rest>[^/]+)"
    whole = f"{re.escape(parts.before)}{split}{re.escape(parts.inside)}{name}(?i:{stem}{any_suffix})"
    return re.compile(whole, re.DOTALL)
