"""What a check of a dataset found: every problem by its kind, and what images and labels hold."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dakpn.datasets.inventory import Inventory
from dakpn.datasets.label_space import LabelSpace
from dakpn.sources.exclusions import BadRow, Exclusions

ProblemKind = Literal[
    "bad_name",
    "damaged",
    "duplicate_image",
    "duplicate_key",
    "empty_file",
    "label_among_images",
    "missing_image",
    "missing_label",
    "missing_row",
    "oversized",
    "size_mismatch",
    "undecidable_orientation",
    "unknown_label_id",
    "unreadable",
    "wrong_format",
]
SCHEMA_VERSION = 1
"""Version of what `CheckReport.to_dict` returns."""


class Problem(NamedTuple):
    """One problem of a dataset.

    Attributes:
        kind: What it is.
        key: Key of the row; empty if it concerns a whole shard, whose rows cannot be told.
        path: The file, or the URI of the shard.
        message: A sentence that says what was got, what was expected and what to do.
    """

    kind: ProblemKind
    key: str
    path: str
    message: str


class ClassShare(NamedTuple):
    """Pixels of a class, and their share of all pixels that belong to a class."""

    train_id: int
    name: str
    pixels: int
    share: float


class UnknownId(NamedTuple):
    """A label id that the class map does not know, its pixels, and the labels that hold it."""

    id: int
    pixels: int
    labels: int


@dataclass
class CheckReport:
    """Findings of a check.

    Attributes:
        dataset: Absolute URI.
        source: What it is: the preset of a folder, or the format of a packed dataset.
        label_space: Its classes; None without labels.
        images: Images that are there.
        keys: Key of each image that was looked at, in order: of all, or of a sample.
        labelled: How many of those have a label.
        sizes: (height, width) -> number of images.
        label_ids: Id in the label files -> pixels.
        labels_with_id: Id in the label files -> labels that hold it.
        problems: All that is wrong, as it was found.
        inventory: What the source holds: taken, to be changed when it is packed, or left out.
    """

    dataset: str
    source: str
    label_space: LabelSpace | None
    images: int
    keys: list[str] = field(default_factory=list)
    labelled: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    label_ids: Counter[int] = field(default_factory=Counter)
    labels_with_id: Counter[int] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    inventory: Inventory = field(default_factory=Inventory)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    @property
    def problem_counts(self) -> dict[str, int]:
        """Kind -> number of problems, sorted."""
        return dict(sorted(Counter(problem.kind for problem in self.problems).items()))

    def train_id_pixels(self) -> Counter[int]:
        """Return train id, the ignored one included -> pixels; unknown ids are left out."""
        known = self.label_space.class_map if self.label_space else {}
        pixels: Counter[int] = Counter()
        for source, count in self.label_ids.items():
            if source in known:
                pixels[known[source]] += count
        return pixels

    def classes(self) -> Iterator[ClassShare]:
        """Yield every class, those that never occur included."""
        if self.label_space is None:
            return
        pixels = self.train_id_pixels()
        total = pixels.total() - pixels[self.label_space.ignore_id]
        for train_id, name in enumerate(self.label_space.class_names):
            yield ClassShare(train_id, name, pixels[train_id], pixels[train_id] / total if total else 0.0)

    def classes_without_id(self) -> list[str]:
        """Return the classes that no label id of the dataset means, so that no label can hold them."""
        return [] if self.label_space is None else self.label_space.classes_without_id()

    def unknown_ids(self) -> list[UnknownId]:
        """Return the ids that the class map does not know, sorted."""
        if self.label_space is None:
            return []
        unknown = sorted(self.label_ids.keys() - self.label_space.class_map.keys())
        return [UnknownId(id_, self.label_ids[id_], self.labels_with_id[id_]) for id_ in unknown]

    def exclusions(self) -> Exclusions:
        """Return the rows with a problem, each once with all its reasons, and the others."""
        reasons: dict[str, list[str]] = {}
        for problem in self.problems:
            if problem.key:
                reasons.setdefault(problem.key, []).append(f"{problem.kind}: {problem.message}")
        bad = tuple(BadRow(key=key, reason="; ".join(messages)) for key, messages in reasons.items())
        return Exclusions(
            dataset=self.dataset, bad=bad, good=tuple(key for key in self.keys if key and key not in reasons)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold."""
        classes = [share._asdict() for share in self.classes()]
        ignored = self.train_id_pixels()[self.label_space.ignore_id] if self.label_space else 0
        return {
            "schema_version": SCHEMA_VERSION,
            "dataset": self.dataset,
            "source": self.source,
            "ok": self.ok,
            "images": self.images,
            "checked": len(self.keys),
            "labelled": self.labelled,
            "unlabelled": len(self.keys) - self.labelled,
            "sizes": [{"height": h, "width": w, "images": count} for (h, w), count in self.sizes.most_common()],
            "label_ids": {str(id_): self.label_ids[id_] for id_ in sorted(self.label_ids)},
            "classes": classes,
            "absent_classes": [share["name"] for share in classes if not share["pixels"]] if self.labelled else [],
            "classes_without_id": self.classes_without_id() if self.labelled else [],
            "ignored_pixels": ignored,
            "unknown_ids": [unknown._asdict() for unknown in self.unknown_ids()],
            "inventory": self.inventory.to_dict(),
            "problem_counts": self.problem_counts,
            "problems": [problem._asdict() for problem in self.problems],
        }
