"""Presets: where a known dataset keeps its images and labels, and what its label ids mean.

Presets are data (`presets/NAME.yaml`), so that another dataset of the same layout needs no code.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dakpn.data.schema import key_from_path
from dakpn.errors import DataError, UsageError


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a dataset, and how ids in its label files become the ids that a net is trained on.

    Attributes:
        dataset: Name of the dataset, for messages and cards.
        class_names: Name of each train id 0..C-1.
        ignore_id: Train id of pixels that belong to no class; at least C, at most 255.
        class_map: Id in the label file -> train id, a class or `ignore_id`. Other ids are errors.
            Left empty, it takes 0..C-1 and `ignore_id` for themselves.

    Raises:
        UsageError: Ids out of range.
    """

    dataset: str
    class_names: tuple[str, ...]
    ignore_id: int = 255
    class_map: Mapping[int, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Fill an empty class map and check the ranges."""
        known = [*range(self.num_classes), self.ignore_id]
        class_map = dict(sorted(self.class_map.items())) or {train_id: train_id for train_id in known}
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "class_map", class_map)
        if not 0 < self.num_classes <= self.ignore_id <= 255:
            raise UsageError(
                f"{self.dataset}: got {self.num_classes} classes and ignore_id {self.ignore_id}; "
                "expected 1 to 255 classes and an ignore_id that is none of them, at most 255"
            )
        for source, train_id in class_map.items():
            if train_id not in known or not 0 <= source <= 65535:
                raise UsageError(
                    f"{self.dataset}: class_map takes {source} to {train_id}; expected a label id of "
                    f"0..65535 and a train id of 0..{self.num_classes - 1} or {self.ignore_id}"
                )

    @property
    def num_classes(self) -> int:
        """Number of classes C, the ignored one not counted."""
        return len(self.class_names)

    def to_train_ids(self, label: NDArray[np.uint8] | NDArray[np.uint16], origin: str) -> NDArray[np.uint8]:
        """Return the train ids, [H, W] `uint8`, of a label, [H, W] `uint8` or `uint16`.

        Raises:
            DataError: The label holds an id that the class map does not know.
        """
        table = np.full(np.iinfo(label.dtype).max + 1, -1, np.int16)
        sources = [source for source in self.class_map if source < len(table)]
        table[sources] = [self.class_map[source] for source in sources]
        mapped = table[label]
        if mapped.size and mapped.min() < 0:
            ids, counts = np.unique(label[mapped < 0], return_counts=True)
            found = ", ".join(f"{i} ({n} pixels)" for i, n in zip(ids[:5], counts[:5], strict=True))
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            raise DataError(
                f"{origin}: got unknown label id {found}{more}; {self.dataset} knows "
                f"{', '.join(map(str, self.class_map))}: choose the preset that fits, or mend the label"
            )
        return mapped.astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold."""
        return {
            "dataset": self.dataset,
            "class_names": list(self.class_names),
            "ignore_id": self.ignore_id,
            "class_map": {str(source): train_id for source, train_id in self.class_map.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the label space that `to_dict` described.

        Raises:
            DataError: The dictionary is not such a description.
        """
        try:
            class_map = {int(source): int(train_id) for source, train_id in values["class_map"].items()}
            return cls(values["dataset"], tuple(values["class_names"]), int(values["ignore_id"]), class_map)
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise DataError(
                f"damaged label space ({error!r}); expected dataset, class_names, ignore_id and class_map: "
                "pack the dataset again"
            ) from error


class SourcePair(NamedTuple):
    """An image file, its label file (None without labels), and the key of the row that they become."""

    key: str
    image_path: Path
    label_path: Path | None


class DatasetPreset(BaseModel):
    """A dataset's layout on disk and its classes.

    Images are ROOT/`images_folder`/[SPLIT/]NAME.EXT, labels ROOT/`labels_folder`/[SPLIT/]NAME`label_suffix`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images_folder: str
    labels_folder: str
    image_suffixes: tuple[str, ...]
    label_suffix: str
    class_names: tuple[str, ...]
    ignore_id: int
    class_map: dict[int, int]

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        _ = self.label_space
        return self

    @property
    def label_space(self) -> LabelSpace:
        """The classes of the dataset."""
        return LabelSpace(self.name, self.class_names, self.ignore_id, self.class_map)

    def find_pairs(self, root: Path, split: str | None, labelled: bool | None = None) -> list[SourcePair]:
        """Return the pairs below `root`, sorted by key, without opening a file.

        A key is the image's path below the images folder (split folder included) without its extension.

        Args:
            root: Folder that holds the images folder.
            split: Folder below the images folder to take; None takes all.
            labelled: True requires labels, False ignores them, None takes them if there is a labels folder.

        Raises:
            UsageError: A folder is missing, it holds no image, an image has no label while there is a labels
                folder, or two images would get the same key.
        """
        images = _existing(root, "the dataset") / self.images_folder
        labels = root / self.labels_folder
        _existing(images, f"images of the {self.name} layout")
        if split is not None:
            _existing(images / _plain_name(split), "the split", _folders_in(images))
        searched = images / (split or "")
        if labelled is None:
            labelled = (labels / (split or "")).is_dir()
        elif labelled:
            _existing(labels / (split or ""), "labels, which were asked for,")
        paths = [path for path in _files_below(searched) if path.suffix.lower() in self.image_suffixes]
        if not paths:
            raise UsageError(
                f"{searched} holds no image; expected files that end in {', '.join(self.image_suffixes)}: "
                "check the folder and the preset"
            )
        return _unique([self._pair(path, images, labels if labelled else None) for path in paths])

    def find_splits(self, root: Path) -> list[str]:
        """Return the names of the split folders below `root`, sorted; empty if its images lie in no split.

        Raises:
            UsageError: There is no images folder.
        """
        return _folders_in(_existing(root / self.images_folder, f"images of the {self.name} layout"))

    def _pair(self, path: Path, images: Path, labels: Path | None) -> SourcePair:
        name = path.relative_to(images).as_posix()
        try:
            key = key_from_path(name)
        except DataError as error:
            raise UsageError(f"{images}: {error}") from error
        if labels is None:
            return SourcePair(key, path, None)
        label = labels / (name.removesuffix(path.suffix) + self.label_suffix)
        if not label.is_file():
            raise UsageError(
                f"{path} has no label; expected {label}: add it, take the image away, or pack without labels"
            )
        return SourcePair(key, path, label)


def load_preset(name: str) -> DatasetPreset:
    """Return a preset by its name.

    Raises:
        UsageError: There is none of that name, or its file is damaged.
    """
    folder = resources.files("dakpn.data") / "presets"
    known = sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))
    if name not in known:
        raise UsageError(f"unknown dataset preset {name!r}; expected one of: {', '.join(known)}")
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        return DatasetPreset.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise UsageError(f"the preset file {name}.yaml is damaged: {error}; install dakpn again") from error


def _existing(folder: Path, role: str, known: list[str] | None = None) -> Path:
    if folder.is_dir():
        return folder
    choice = f" (there are: {', '.join(known)})" if known else ""
    raise UsageError(f"the folder {folder} does not exist; expected {role} there{choice}: check the path")


def _plain_name(split: str) -> str:
    if not split or split in (".", "..") or "/" in split or "\\" in split:
        raise UsageError(f"got the split {split!r}, expected the name of a folder below the images folder")
    return split


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def _files_below(folder: Path) -> Iterator[Path]:
    # os.walk, since Path.rglob passes by linked folders, which large datasets are often made of.
    for parent, _, names in os.walk(folder, followlinks=True):
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _unique(pairs: list[SourcePair]) -> list[SourcePair]:
    pairs = sorted(pairs)
    for one, other in pairwise(pairs):
        if one.key == other.key:
            raise UsageError(
                f"{one.image_path} and {other.image_path} would both get the key {one.key!r}; "
                "expected one image for each key: rename one of them"
            )
    return pairs
