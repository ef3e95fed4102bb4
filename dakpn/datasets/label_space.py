"""The classes of a dataset, and what the ids in its label files mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

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
        class_colors: Red, green and blue, 0..255, of each train id in pictures; empty leaves the choice to the
            reader. Colors do not count when label spaces are compared.
        chosen: Whether the caller named the classes, or they were taken by default; for messages alone.

    Raises:
        UsageError: Ids or colors out of range.
    """

    dataset: str
    class_names: tuple[str, ...]
    ignore_id: int = 255
    class_map: Mapping[int, int] = field(default_factory=dict, hash=False)
    class_colors: tuple[tuple[int, int, int], ...] = field(default=(), compare=False)
    chosen: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        """Fill an empty class map and check the ranges."""
        known = [*range(self.num_classes), self.ignore_id]
        class_map = dict(sorted(self.class_map.items())) or {train_id: train_id for train_id in known}
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "class_map", class_map)
        object.__setattr__(self, "class_colors", tuple((red, green, blue) for red, green, blue in self.class_colors))
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
        if self.class_colors and len(self.class_colors) != self.num_classes:
            raise UsageError(
                f"{self.dataset}: got {len(self.class_colors)} class_colors, expected {self.num_classes}, one for each "
                "class, or none"
            )
        if not all(0 <= value <= 255 for color in self.class_colors for value in color):
            raise UsageError(f"{self.dataset}: class_colors hold a number outside 0..255; expected red, green, blue")

    @property
    def num_classes(self) -> int:
        """Number of classes C, the ignored one not counted."""
        return len(self.class_names)

    def classes_without_id(self) -> list[str]:
        """Return the classes that no id in label files means, so that no label can hold them."""
        meant = set(self.class_map.values())
        return [name for train_id, name in enumerate(self.class_names) if train_id not in meant]

    def to_train_ids(self, label: NDArray[np.uint8] | NDArray[np.uint16], origin: str) -> NDArray[np.uint8]:
        """Return the train ids, [H, W] `uint8`, of a label, [H, W] `uint8` or `uint16`.

        Raises:
            DataError: The label holds an id that the class map does not know.
        """
        table = self.table(label.dtype)
        mapped = table[label]
        if mapped.size and mapped.min() < 0:
            ids, counts = np.unique(label[mapped < 0], return_counts=True)
            found = ", ".join(f"{i} ({n} pixels)" for i, n in zip(ids[:5], counts[:5], strict=True))
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            known = ", ".join(map(str, self.class_map))
            if not self.chosen:
                raise DataError(
                    f"{origin}: got unknown label id {found}{more}; no preset was named, and by default {known} are "
                    "known: name the preset of the labels' classes with --dataset, or mend the label"
                )
            raise DataError(
                f"{origin}: got unknown label id {found}{more}; {self.dataset} knows {known}: choose the preset that "
                "fits, or mend the label"
            )
        return mapped.astype(np.uint8)

    def table(self, dtype: np.dtype) -> NDArray[np.int16]:
        """The train id of each id that a label of this type can hold; -1 where there is none."""
        table = np.full(np.iinfo(dtype).max + 1, -1, np.int16)
        sources = [source for source in self.class_map if source < len(table)]
        table[sources] = [self.class_map[source] for source in sources]
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold."""
        return {
            "dataset": self.dataset,
            "class_names": list(self.class_names),
            "ignore_id": self.ignore_id,
            "class_map": {str(source): train_id for source, train_id in self.class_map.items()},
            "class_colors": [list(color) for color in self.class_colors],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the label space that `to_dict` described.

        Raises:
            DataError: The dictionary is not such a description.
        """
        try:
            class_map = {int(source): int(train_id) for source, train_id in values["class_map"].items()}
            colors = tuple(values.get("class_colors", ()))  # written by newer versions only
            return cls(values["dataset"], tuple(values["class_names"]), int(values["ignore_id"]), class_map, colors)
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise DataError(
                f"damaged label space ({error!r}); expected dataset, class_names, ignore_id and class_map: "
                "pack the dataset again"
            ) from error


def one_sided_classes(one_name: str, one: LabelSpace, other_name: str, other: LabelSpace) -> list[str]:
    """Return a sentence for each of two sides whose labels can hold classes that those of the other cannot.

    Args:
        one_name: What to call the one side.
        one: Its classes.
        other_name: What to call the other side.
        other: Its classes.
    """
    said = []
    for name, side, lacking, without in ((one_name, one, other_name, other), (other_name, other, one_name, one)):
        there = set(without.class_names) - set(without.classes_without_id())
        gone = set(side.classes_without_id())
        if alone := [known for known in side.class_names if known not in gone and known not in there]:
            ignored = ", ".join(f"{known}: ignore" for known in alone)
            said.append(
                f"only the labels of {name} can hold {', '.join(alone)}, those of {lacking} cannot; if that is not "
                f"meant, pack {name} with a preset that extends {side.dataset} by the lines "
                f"`classes_of: {without.dataset}` and `class_map: {{{ignored}}}`, or with the class to put them "
                "with instead of ignore"
            )
    return said
