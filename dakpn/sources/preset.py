"""Presets: where a known dataset keeps its images and labels, and what its label ids mean.

Presets are data (`presets/NAME.yaml`), so that another dataset needs a YAML file of its own and no code.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from dakpn.config_file import build_config, parse_config, read_config
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.schema import key_from_path
from dakpn.errors import ConfigError, DataError, UsageError
from dakpn.sources.label_reading import Color, LabelFormat, LabelReader
from dakpn.sources.layout import IMAGE_SUFFIXES, Layout, SourceImage, require_folder
from dakpn.sources.legends import BACKGROUND, NAME, read_class_names, read_legend
from dakpn.sources.pairs import (
    CelebAMaskParts,
    LabelFinder,
    LabelPart,
    Refusal,
    SourcePair,
    is_version_of,
    raise_refusal,
    require_unique_keys,
)
from dakpn.sources.source_path import SourcePath

_PART = re.compile(r"[A-Za-z0-9_]+")
_YAML = (".yaml", ".yml")
IGNORE = "ignore"
"""In a class map by names: what belongs to no class."""
_LABEL_NOTES = {
    "class_ids": "Labels are the original files.",
    "first_channel": "Labels are PNG files of the first channel of the original 16-bit files; originals of a single "
    "channel are kept as they are.",
    "first_channel_8bit": "Labels are PNG files of the red channel of the original ones.",
    "grey": "Labels are PNG files of one channel of the original grey ones.",
    "colors": "Labels are PNG files of class ids, made of the colors of the original ones.",
    "legend": "Labels are PNG files of class ids, made of the original ones by the legend of each.",
    "celebamask_parts": "Labels are PNG files, merged from the original mask of each part and enlarged to the image.",
}


class DatasetPreset(BaseModel):
    """A dataset's layout on disk and its classes.

    Attributes:
        name: Short name, for messages and cards.
        description: What the dataset is.
        folder_tree: The files that are expected, for people.
        source: Where to get it.
        licence: Under which terms.
        layouts: Layouts on disk; the first whose images folder exists is taken.
        label_format: What the label files hold.
        legend: Names of JSON files, `*` standing for anything, that a simulator leaves beside its labels: the first
            that is there and names colors gives the classes and their colors, see `legends`. Of label_format "legend":
            names with `{name}`, of files that lie beside each label and say what its colors or ids mean.
        label_parts: For "celebamask_parts": name of each part and its id, in the order in which parts are laid over
            each other.
        label_colors: Label id -> red, green and blue in label files: what "colors" are read by, and what the palette
            of a file of ids is compared with. Where empty, it is `class_colors` by the ids of each class.
        palette: Whether the palette of a label file is compared, or its indices are the ids whatever their color.
        most_unknown: For "colors": the largest share, 0..1, of an image's pixels of unknown color that are no
            blend of two colors beside them (edges drawn smoothly): both are ignored.
        class_names: See `LabelSpace`, like `ignore_id`, `class_map` and `class_colors`. Without classes the
            dataset is one of images alone.
        classes_of: Another preset, whose classes the packed dataset shall have, so that a network trained on one side
            is scored on the other.
        renamed: Class of this preset -> class of the other one, or "ignore"; a class that has the same name there may
            be left out. In a file these entries stand in `class_map`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    description: str = ""
    folder_tree: str = ""
    source: str = ""
    licence: str = ""
    layouts: Annotated[tuple[Layout, ...], Field(min_length=1)]
    label_format: LabelFormat = "class_ids"
    legend: tuple[str, ...] = ()
    label_parts: dict[str, Annotated[int, Field(ge=1, le=255)]] = {}
    label_colors: dict[int, Color] = {}
    palette: Literal["compared", "ignored"] = "compared"
    most_unknown: Annotated[float, Field(ge=0, le=1)] = 0.001
    class_names: tuple[str, ...] = ()
    ignore_id: int = 255
    class_map: dict[int, int] = {}
    class_colors: tuple[tuple[int, int, int], ...] = ()
    classes_of: str | None = None
    renamed: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _split_class_map(cls, values: Any) -> Any:
        """Tell the names in a class map from the ids."""
        given = values.get("class_map") if isinstance(values, dict) else None
        if not isinstance(given, dict):
            return values
        names = {key: to for key, to in given.items() if isinstance(key, str) and not key.lstrip("-").isdecimal()}
        ids = {key: to for key, to in given.items() if key not in names}
        return {**values, "class_map": ids, "renamed": {**names, **values.get("renamed", {})}}

    @field_validator("label_parts")
    @classmethod
    def _check_parts(cls, parts: dict[str, int]) -> dict[str, int]:
        for part in parts:
            if not _PART.fullmatch(part):
                raise ValueError(f"got the part {part!r}, expected letters, digits and '_'")
        return parts

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        labelled = any(layout.labels for layout in self.layouts)
        if labelled and not (self.class_names or self.legend):
            raise UsageError(
                f"{self.name}: there are labels and no class_names; name the class of each train id 0, 1, ..."
            )
        if (self.label_format == "celebamask_parts") != bool(self.label_parts):
            raise UsageError(
                f"{self.name}: label_format celebamask_parts and label_parts belong together; got one of them"
            )
        if (self.label_format == "legend") != any(NAME in pattern for pattern in self.legend):
            raise UsageError(
                f"{self.name}: label_format legend and a legend with {NAME} belong together; got one of them"
            )
        if self.class_names:
            _ = self.label_reader, self.label_space
        return self

    @property
    def own_space(self) -> LabelSpace:
        """The classes that the label files have. Raises `UsageError` if there are none."""
        if not self.class_names:
            raise UsageError(f"the preset {self.name} has no classes; choose or write one that names them")
        return LabelSpace(self.name, self.class_names, self.ignore_id, self.class_map, self.class_colors)

    @cached_property
    def label_space(self) -> LabelSpace:
        """The classes of the packed dataset: those of `classes_of`, or its own.

        Raises:
            UsageError: It has none, or a class of which nothing says what it is in `classes_of`.
        """
        own = self.own_space
        if self.classes_of is None:
            if self.renamed:
                raise UsageError(
                    f"{self.name}: class_map has names of classes ({', '.join(self.renamed)}) and no classes_of; "
                    "name the preset that has the others"
                )
            return own
        other = load_preset(self.classes_of).label_space
        if strange := sorted(self.renamed.keys() - set(own.class_names)):
            raise UsageError(
                f"{self.name}: class_map has {', '.join(strange)}; expected its own classes: "
                f"{', '.join(own.class_names)}"
            )
        named = {name: self.renamed.get(name, name) for name in own.class_names}
        lost = [name for name, to in named.items() if to != IGNORE and to not in other.class_names]
        if lost:
            raise UsageError(
                f"{self.name}: nothing says what {', '.join(lost)} is among the classes of {self.classes_of} "
                f"({', '.join(other.class_names)}); add to class_map: {{{lost[0]}: NAME}}, or {{{lost[0]}: {IGNORE}}}"
            )
        ids = {name: other.class_names.index(to) if to != IGNORE else other.ignore_id for name, to in named.items()}
        ids_of = {own_id: ids[name] for own_id, name in enumerate(own.class_names)} | {own.ignore_id: other.ignore_id}
        mapped = {id_: ids_of[own_id] for id_, own_id in own.class_map.items()}
        return LabelSpace(self.name, other.class_names, other.ignore_id, mapped, other.class_colors)

    @cached_property
    def label_reader(self) -> LabelReader:
        """How label files are read.

        Raises:
            UsageError: There are no classes; or colors that cannot be told apart, are out of range, or lack.
        """
        class_map, ignore_id = self.own_space.class_map, self.ignore_id
        classes = frozenset(id_ for id_, train_id in class_map.items() if train_id != ignore_id)
        colors = dict(self.label_colors)
        if not colors and self.class_colors:
            colors = {id_: self.class_colors[class_map[id_]] for id_ in sorted(classes)}
        ignored = [id_ for id_, train_id in class_map.items() if train_id == ignore_id]
        if self.label_format == "colors":
            self._check_colors(colors, classes, ignored)
        return LabelReader(
            self.label_format,
            tuple(colors.items()),
            classes,
            255 if 255 in ignored else next(iter(ignored), None),
            self.most_unknown,
            self.palette == "compared",
            self.class_names if self.label_format == "legend" else (),
        )

    def _check_colors(self, colors: Mapping[int, Color], classes: frozenset[int], ignored: Sequence[int]) -> None:
        class_map = self.own_space.class_map
        if not colors:
            raise UsageError(
                f"{self.name}: label_format colors takes label_colors or class_colors; give the color of each id"
            )
        if not ignored:
            raise UsageError(
                f"{self.name}: label_format colors ignores pixels of unknown color, and class_map ignores no id; add "
                f"one, such as 255: {self.ignore_id}"
            )
        meaning: dict[Color, int] = {}
        for id_, color in colors.items():
            if id_ not in class_map or not all(0 <= value <= 255 for value in color):
                raise UsageError(
                    f"{self.name}: label_colors has {id_}: {list(color)}; expected an id of class_map and numbers of "
                    "0..255"
                )
            if id_ in classes and meaning.setdefault(color, class_map[id_]) != class_map[id_]:
                raise UsageError(f"{self.name}: two classes have the color {list(color)}; give each its own")

    @property
    def label_note(self) -> str:
        """A sentence that says how packed labels come from the dataset's files."""
        return _LABEL_NOTES[self.label_format]

    def find_pairs(
        self,
        root: SourcePath,
        split: str | None,
        labelled: bool | None = None,
        refuse: Callable[[Refusal], None] = raise_refusal,
    ) -> list[SourcePair]:
        """Return the pairs below `root`, sorted by key, without opening a file.

        A key is split, if any, and name of the image (see `Layout`).

        Args:
            root: Folder of the dataset.
            split: Split folder to take; None takes all.
            labelled: True requires labels, False ignores them, None takes them if there is a labels folder (or,
                where labels lie beside the images, any label).
            refuse: Called with each image that cannot become a row; if it returns, the image is among the pairs
                nevertheless, without its label if that is what it lacks.

        Raises:
            UsageError: A folder is missing, it holds no image, an image has no label while there is a labels
                folder, or two images would get the same key.
        """
        if self.legend and not self.class_names:
            return self.with_legend(root).find_pairs(root, split, labelled, refuse)
        layout = self.layout_at(root)
        if split is not None:
            self._require_split(layout, root, split)
        if labelled is None:
            labelled = layout.has_labels(root, split)
        elif labelled:
            self._require_labels(layout, root, split)
        images = list(layout.find_images(root, split))
        if not images:
            searched = layout.images_folder(root) / (split or "")
            suffixes = layout.images.rpartition("{name}")[2].replace(".*", ", ".join(IMAGE_SUFFIXES))
            raise UsageError(
                f"{searched} holds no image; expected files that end in {suffixes}: check the folder and the preset"
            )
        masks = (
            CelebAMaskParts(layout.labels_folder(root, None) or root, self.label_parts) if self.label_parts else None
        )
        labels = LabelFinder(root, layout, images, split)
        return require_unique_keys([self._pair(labels, image, labelled, masks, refuse) for image in images], refuse)

    def with_legend(self, root: SourcePath) -> Self:
        """Return the preset with the classes that the legend below the folder `root` names; itself without a legend.

        Raises:
            UsageError: There is no such file, or it names a class of which nothing says what it is in `classes_of`.
            DataError: It is no JSON, or its colors are none.
        """
        if not self.legend or self.class_names:
            return self
        if self.label_format == "legend":
            own = read_class_names(root, self.legend)
            class_map = {id_: id_ for id_ in range(len(own))} | {len(own): self.ignore_id}
            return type(self).model_validate({**self.model_dump(), "class_names": own, "class_map": class_map})
        entries = read_legend(root, self.legend)
        names = list(dict.fromkeys(name for name, _ in entries))
        colors = dict(enumerate(color for _, color in entries))
        class_map = {id_: names.index(name) for id_, (name, _) in enumerate(entries)} | {len(entries): self.ignore_id}
        if BACKGROUND not in colors.values():
            colors[len(entries)] = BACKGROUND
        values = {"class_names": names, "label_colors": colors, "class_map": class_map, "class_colors": ()}
        return type(self).model_validate({**self.model_dump(), **values})

    def find_stray_labels(self, root: SourcePath, split: str | None, pairs: Sequence[SourcePair]) -> list[SourcePath]:
        """Return the label files below `root`, of one split or of all, that belong to none of the pairs, sorted.

        A file named after an image and more, such as NAME_labelTrainIds.png, is taken for another version of its label.
        """
        used = {path for pair in pairs for path in pair.files}
        names = {pair.image_path.stem for pair in pairs}
        labels = self.layout_at(root).find_labels(root, split)
        return sorted(path for name, path in labels if path not in used and not is_version_of(name, names))

    def find_splits(self, root: SourcePath) -> list[str]:
        """Return the names of the split folders below `root`, sorted; empty if its images lie in no split.

        Raises:
            UsageError: There is no images folder.
        """
        return self.layout_at(root).find_splits(root)

    def layout_at(self, root: SourcePath) -> Layout:
        """Return the layout that the folder `root` has. Raises `UsageError` if it has none of them."""
        require_folder(root, "the dataset")
        for layout in self.layouts:
            if layout.images_folder(root).is_dir():
                return layout
        usual = self.layouts[0]
        require_folder(usual.images_folder(root), f"images of the {self.name} layout")
        return usual

    def _require_split(self, layout: Layout, root: SourcePath, split: str) -> None:
        if not layout.has_split_folders():
            raise UsageError(f"got the split {split!r}, but {self.name} has no split folders; leave it out")
        if not split or split in (".", "..") or "/" in split or "\\" in split:
            raise UsageError(f"got the split {split!r}, expected the name of a folder below the images folder")
        splits = layout.find_splits(root)
        if split not in splits:
            require_folder(layout.split_folder(root, split), "the split", splits)

    def _require_labels(self, layout: Layout, root: SourcePath, split: str | None) -> None:
        folder = layout.labels_folder(root, split)
        if folder is None:
            raise UsageError(f"the preset {self.name} has no labels, which were asked for; choose another preset")
        require_folder(folder, "labels, which were asked for,")

    def _pair(
        self,
        labels: LabelFinder,
        image: SourceImage,
        labelled: bool,
        masks: CelebAMaskParts | None,
        refuse: Callable[[Refusal], None],
    ) -> SourcePair:
        name = f"{image.split}/{image.name}" if image.split else image.name
        try:
            key = key_from_path(f"{name}.png")
        except DataError as error:
            refuse(Refusal("bad_name", name, image.path, UsageError(f"{image.path}: {error}")))
            key = name
        label = labels.of(image, made=masks is not None) if labelled else None
        if label is None:
            return SourcePair(key, image.path, None)
        try:
            parts: tuple[LabelPart, ...] = masks.of(image.path) if masks else ()
            if not parts and not label.is_file():
                raise UsageError(
                    f"{image.path} has no label; expected {label}{labels.instead_of(label)}: add it, take the image "
                    "away, or pack without labels"
                )
        except UsageError as error:
            refuse(Refusal("missing_label", key, image.path, error))
            return SourcePair(key, image.path, None)
        legend = self._legend_of(label) if self.label_format == "legend" else None
        if self.label_format == "legend" and legend is None:
            expected = " or ".join(self.legend)
            error = UsageError(f"{label} has no legend; expected {expected} beside it: add it, or leave the image out")
            refuse(Refusal("missing_label", key, image.path, error))
            return SourcePair(key, image.path, None)
        return SourcePair(key, image.path, label, self.label_format, parts, self.label_reader, legend)

    def _legend_of(self, label: SourcePath) -> SourcePath | None:
        """Return the legend beside a label; None if there is none."""
        folder = label.parent
        for layout in self.layouts:
            if (name := layout.label_stem(label.name)) is not None:
                for pattern in self.legend:
                    if (path := folder / pattern.replace(NAME, name)).is_file():
                        return path
        return None


def preset_names() -> list[str]:
    """Return the names of the presets that come with the project, sorted."""
    folder = resources.files("dakpn.sources") / "presets"
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_preset(name: str) -> DatasetPreset:
    """Return a preset by its name, or from a YAML file of your own by its path (which ends in .yaml or .yml).

    Example:
        ```python
        preset = load_preset("gta5")
        pairs = preset.find_pairs(Path("PATH/TO/gta5"), split=None, labelled=True)
        print(preset.label_space.class_names)
        ```

    Raises:
        UsageError: There is none of that name, or the file cannot be read or does not fit.
    """
    if name.endswith(_YAML):
        try:
            values = read_config(name, _text_of)
            other = values.get("classes_of")
            if isinstance(other, str) and other.endswith(_YAML):
                values["classes_of"] = str(Path(name).parent / other)
            return build_config(DatasetPreset, values, origin=name)
        except ConfigError:
            raise
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
    known = preset_names()
    if name not in known:
        raise UsageError(
            f"unknown dataset preset {name!r}; expected one of: {', '.join(known)}, or the path of a YAML file"
        )
    return _load_own(name)


@cache
def _load_own(name: str) -> DatasetPreset:
    """Return a preset that comes with the project. Raises `UsageError`."""
    try:
        return parse_config(DatasetPreset, _text_of(name) or "", origin=f"{name}.yaml")
    except UsageError as error:
        raise UsageError(f"the preset file {name}.yaml is damaged: {error}; install dakpn again") from error


def _text_of(name: str) -> str | None:
    """Return the file of a preset that comes with the project; None for all other names."""
    if name not in preset_names():
        return None
    return (resources.files("dakpn.sources") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
