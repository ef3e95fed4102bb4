"""What a source is: a folder in a preset's layout, archives that hold such a folder, files of other tools, or a packed
dataset. And which splits it has: several of them are never mixed unless that is asked for.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

import yaml

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats.foreign import SUFFIXES, is_metadata
from dakpn.datasets.formats.tar import tar_members
from dakpn.datasets.inventory import Inventory, is_left_out, junk_reason
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import UsageError
from dakpn.sources.folder_inventory import looks_like_data
from dakpn.sources.layout import IMAGE_SUFFIXES
from dakpn.sources.preset import DatasetPreset, load_preset, preset_names
from dakpn.sources.source_path import (
    ListedPath,
    MemberFile,
    SourcePath,
    all_names_below,
    is_folder,
    listed_root,
    source_path,
)
from dakpn.sources.unread import nothing_found, refuse_unread, some, way_out
from dakpn.wording import counted

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "camvid"
"""Preset of a folder with `images` and `labels` where the caller names none."""

ALL_SPLITS = "all"
"""Takes every split, where none has this name."""

_NAMES = "train|training|valid|validation|val|dev|test|testing|eval|evaluation"
_SPLIT = re.compile(rf"(?:partial-)?({_NAMES})", re.IGNORECASE)  # a folder; the Hub's own Parquet has `partial-train`
_SPLIT_WORD = re.compile(rf"(?<![A-Za-z0-9])({_NAMES})(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class PackedSource:
    """A dataset that dakpn packed."""

    uri: str


@dataclass(frozen=True)
class FolderSource:
    """A folder, or the members of archives, in the layout of a preset.

    Attributes:
        root: Where it is.
        preset: Layout and classes.
        split: As the preset takes it.
        chosen: Whether the caller named the preset.
        beside: What lies beside the archives.
    """

    root: SourcePath
    preset: DatasetPreset
    split: str | None
    chosen: bool = True
    beside: Inventory = field(default_factory=Inventory)

    @property
    def label_space(self) -> LabelSpace:
        """The classes of the labels."""
        return replace(self.preset.label_space, chosen=self.chosen)


@dataclass(frozen=True)
class FileSource:
    """Files of other tools that hold rows, of one split or of all, and what lies beside them."""

    uri: str
    files: Sequence[str]
    inventory: Inventory = field(default_factory=Inventory)


FoundSource: TypeAlias = PackedSource | FolderSource | FileSource


class _File(NamedTuple):
    uri: str
    name: str  # below the source
    split: str


@dataclass(frozen=True)
class _Files:
    """Files of one kind, of all splits, and the names of all that lies below the source."""

    uri: str
    files: list[_File]
    names: list[str] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        return sorted({file.split for file in self.files})

    def inventory(self, taken: Sequence[_File]) -> Inventory:
        """Count all files below the source but those that are taken."""
        inventory = Inventory()
        kept, alike = {file.name for file in taken}, {file.name for file in self.files}
        for name in self.names:
            if name in kept:
                continue
            if junk := junk_reason(name):
                inventory.leave(junk, name)
            elif name in alike:
                inventory.leave("files of another split", name, data=True)
            elif _suffix(name) == _suffix(self.files[0].uri):
                inventory.leave("files in other folders", name, data=True)
            elif _suffix(name) and is_metadata(storage.join(self.uri, name)):
                inventory.leave("tables of metadata", name)
            elif _suffix(name):
                inventory.leave("files of another kind", name, data=True)
            else:
                data = looks_like_data(name)
                inventory.leave("images and archives beside" if data else "other files", name, data)
        return inventory


def find_source(uri: str, preset: DatasetPreset | None, split: str | None) -> FoundSource:
    """Find out what is at `uri`.

    Args:
        uri: A folder, or a single .tar or .parquet file; local or `s3://`.
        preset: Layout and classes, if the caller named one.
        split: Split to take; None takes the only one, "all" takes every one.

    Raises:
        UsageError: Nothing that can be read is there, or several splits and none was named.
        DataError: An archive that is damaged.
        StorageError: It cannot be read or listed.
    """
    if _is_file(uri):
        if not _suffix(uri):
            way = way_out(uri) or "give the folder of a dataset, or a .parquet or .tar file"
            raise UsageError(f"{uri} is a file that is not read; {way}")
        name = uri.rpartition("/")[2]
        single = _Files(uri, [_File(uri, name, _split_of(name))])
        return _archived_layout(single, preset, split) or _of_split(single, split)
    if storage.exists(storage.join(uri, manifest.FOLDER)):
        return PackedSource(uri)
    if _has_layout(uri, preset or load_preset(DEFAULT_PRESET)):
        found = _folder(source_path(uri), preset or load_preset(DEFAULT_PRESET), split)
        return replace(found, chosen=preset is not None)
    if preset is not None and _holds_its_images(uri, preset):
        return _folder(source_path(uri), preset, split)
    anywhere = preset is None or all(layout.images_folder_name for layout in preset.layouts)
    if (files := _find_files(uri, anywhere)) is not None:
        return _archived_layout(files, preset, split) or _of_split(files, split)
    if preset is None:
        raise nothing_found(uri, _fitting(uri))
    root = source_path(uri)
    if is_folder(uri) and not any(next(layout.find_images(root, None), None) for layout in preset.layouts):
        refuse_unread(uri, all_names_below(root))
    return _folder(root, preset, split)


def tell_of_default(found: FolderSource) -> None:
    """Warn that nobody said what the ids of labels mean. To be called where there are labels."""
    if found.chosen:
        return
    others = [name for name in _fitting(str(found.root)) if name != DEFAULT_PRESET]
    meaning = ", ".join(f"{id_} {name}" for id_, name in enumerate(found.preset.class_names))
    logger.warning(
        "%s: no preset was named, so that the ids of its labels are taken for %s; if they mean something else, say it "
        "with --dataset (%s have the same folders)",
        found.root,
        meaning,
        ", ".join(others),
    )


def _is_file(uri: str) -> bool:
    """Tell whether a URI is that of one file: by its ending and by what is there, or if it lies on a disk."""
    if "://" not in storage.absolute(uri):
        return storage.exists(uri) and not is_folder(uri)
    ends = bool(_suffix(uri) or way_out(uri))
    return ends and storage.exists(uri) and not (storage.list_files(uri) or storage.list_folders(uri))


def _has_layout(uri: str, preset: DatasetPreset) -> bool:
    """Tell whether a folder of images of the preset is there, other than the folder itself."""
    names = filter(None, (layout.images_folder_name for layout in preset.layouts))
    return any(is_folder(storage.join(uri, name)) for name in names)


def _fitting(uri: str) -> list[str]:
    """Return the names of the presets whose folders of images and labels are there, or else those of images."""
    known = {name: load_preset(name) for name in preset_names()}
    having = [name for name, preset in known.items() if _has_layout(uri, preset)]

    def complete(name: str) -> bool:
        for layout in known[name].layouts:
            both = layout.images_folder_name, layout.labels_folder_name
            if all(folder and is_folder(storage.join(uri, folder)) for folder in both):
                return True
        return False

    return [name for name in having if complete(name)] or having


def _holds_its_images(uri: str, preset: DatasetPreset) -> bool:
    """Tell whether images lie directly in a folder, where the preset may have them; archives may lie beside them."""
    if all(layout.images_folder_name for layout in preset.layouts):
        return False
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in storage.list_files(uri))


def _folder(root: SourcePath, preset: DatasetPreset, split: str | None) -> FolderSource:
    if split is None or split == ALL_SPLITS:
        splits = preset.find_splits(root)
        if split == ALL_SPLITS and ALL_SPLITS not in splits:
            split = None
        elif split is None:
            _require_one_split(str(root), [name for name in splits if _SPLIT.fullmatch(name)])
    return FolderSource(root, preset.with_legend(root), split)


def _require_one_split(uri: str, splits: Iterable[str]) -> None:
    known = sorted(set(splits))
    if len(known) > 1:
        listed = ", ".join(name or "files without a split" for name in known)
        raise UsageError(
            f"{uri} has several splits: {listed}; name one with --split, or take them together with --split "
            f"{ALL_SPLITS}"
        )


# ---- files of other tools


def _find_files(uri: str, anywhere: bool) -> _Files | None:
    """Return the files of one kind below a folder, archives before tables that know no images; None without any.

    Args:
        uri: The folder.
        anywhere: Take files of one folder, whichever it is, and not only those that lie in this one, in its folder
            `data` or in folders of splits.

    Raises:
        UsageError: They lie in several folders that are no splits.
    """
    names = sorted(all_names_below(source_path(uri)))
    listed = [
        _File(storage.join(uri, name), name, _split_of(name))
        for name in names
        if _suffix(name) and not junk_reason(name)
    ]
    configured = _as_configured(uri, listed, names)
    folders: dict[str, list[_File]] = {}
    for file in configured or listed:
        folders.setdefault("" if configured else _folder_of(file.name), []).append(file)
    if not folders or ("" not in folders and not anywhere):
        return None
    if "" not in folders and len(folders) > 1:
        raise UsageError(
            f"{uri} holds {' and '.join(sorted({_suffix(file.name) for file in listed}))} files in the folders "
            f"{some(sorted(folders))}; name one of these, or put what belongs together into one folder"
        )
    here = folders.get("") or next(iter(folders.values()))
    files = next(some_ for suffix in SUFFIXES if (some_ := [file for file in here if _suffix(file.uri) == suffix]))
    archives = [file for file in here if _suffix(file.uri) == ".tar"]
    if archives and files != archives and all(is_metadata(file.uri) for file in files):
        files = archives  # as img2dataset writes them: what is known of each image lies beside the archives
    return _Files(uri, files, names)


def _folder_of(name: str) -> str:
    """Return the folder that a file lies in, without `data` and folders of splits."""
    return "/".join(part for part in name.split("/")[:-1] if part != "data" and not _SPLIT.fullmatch(part))


def _split_of(name: str) -> str:
    """Return the split of a file: the name of a folder that it lies in, or a word of its own name; empty without."""
    *folders, file = name.split("/")
    found = next(filter(None, map(_SPLIT.fullmatch, folders)), None) or _SPLIT_WORD.search(file)
    return found[1] if found else ""


def _suffix(uri: str) -> str:
    """Return the ending of a file of another tool that can be read, in lower case; empty for all others."""
    return next((suffix for suffix in SUFFIXES if uri.lower().endswith(suffix)), "")


def _of_split(found: _Files, split: str | None) -> FileSource:
    chosen = [file for file in found.files if file.split == split]
    if split is None:
        _require_one_split(found.uri, found.splits)
    elif not chosen and split != ALL_SPLITS:
        if found.splits == [""]:
            raise UsageError(
                f"{found.uri} has {counted(len(found.files), 'file')} and no splits, got --split {split}; leave it out"
            )
        there = ", ".join(filter(None, found.splits))
        raise UsageError(f"{found.uri} has no split {split!r} (there are: {there}); name one of these")
    files = chosen or found.files
    return FileSource(found.uri, [file.uri for file in files], found.inventory(files))


def _as_configured(uri: str, files: list[_File], names: Sequence[str]) -> list[_File]:
    """Return the files that a README of the Hugging Face Hub names, with the splits that it gives them."""
    configs = _configs(storage.read_bytes(storage.join(uri, "README.md"))) if files and "README.md" in names else []
    if not configs:
        return []
    chosen = next((config for config in configs if config.get("config_name") in (None, "default")), configs[0])
    if len(configs) > 1 and chosen.get("config_name") not in (None, "default"):
        listed = ", ".join(str(config.get("config_name")) for config in configs)
        raise UsageError(
            f"{uri} has several configurations: {listed}; name the folder of one, or copy its files into a folder of "
            "their own"
        )
    entries = chosen.get("data_files")
    if isinstance(entries, str | list) and entries and not isinstance(entries[0], dict):
        entries = [{"split": "", "path": entries}]
    named: list[_File] = []
    for entry in entries if isinstance(entries, list) else []:
        paths = entry.get("path") if isinstance(entry, dict) else None
        for pattern in [paths] if isinstance(paths, str) else paths or []:
            matching = [file for file in files if fnmatchcase(file.name, str(pattern).replace("**/", "*"))]
            named += [file._replace(split=str(entry.get("split", ""))) for file in matching]
    return sorted(set(named), key=lambda file: (file.name, file.split))


def _configs(card: bytes) -> list[dict[str, Any]]:
    text = card.decode("utf-8", "replace")
    if not text.startswith("---"):
        return []
    try:
        values = yaml.safe_load(text.split("---", 2)[1])
    except (yaml.YAMLError, ValueError, IndexError, RecursionError):
        return []
    configs = values.get("configs") if isinstance(values, dict) else None
    return [config for config in configs if isinstance(config, dict)] if isinstance(configs, list) else []


# ---- a folder inside archives


def _archived_layout(found: _Files, preset: DatasetPreset | None, split: str | None) -> FolderSource | None:
    """Return the folder inside archives if it has the preset's layout; None if they hold rows of another kind.

    A split is that of some of the archives, by their names, or else one inside.
    """
    if _suffix(found.files[0].uri) != ".tar":
        return None
    if split is None:
        _require_one_split(found.uri, found.splits)
    chosen = [file for file in found.files if file.split == split] or found.files
    members, twice = _members([file.uri for file in chosen])
    at = chosen[0].uri if len(chosen) == 1 else found.uri
    if preset is not None and (root := _root_with_layout(at, members, preset)) is not None:
        if twice:
            raise UsageError(f"{twice}; expected it once: take one out")
        inside = preset.find_splits(root) if chosen is not found.files else []
        of_names = chosen is not found.files and split not in inside
        return replace(_folder(root, preset, None if of_names else split), beside=found.inventory(chosen))
    fitting = [name for name in preset_names() if _root_with_layout(at, members, load_preset(name), folders=True)]
    if not fitting:
        return None
    folders = some(sorted({name.rpartition("/")[0] for name in members}))
    which = f"the presets {', '.join(fitting)} have them" + (f", not {preset.name}" if preset else "")
    raise UsageError(f"{chosen[0].uri} holds the folders {folders}, as {which}; name the one that fits with --dataset")


def _members(archives: Sequence[str]) -> tuple[dict[str, MemberFile], str]:
    """Return name -> place of all files in archives; and, if two have the same name, a sentence about the first."""
    found: dict[str, MemberFile] = {}
    twice = ""
    for archive in archives:
        version = storage.fingerprint(archive)
        with storage.open_input(archive) as file:
            for member in tar_members(file, archive):
                if member.name in found:
                    twice = twice or f"{archive}: the member {member.name!r} is also in {found[member.name].archive}"
                found[member.name] = MemberFile(member.size, f"{version}@{member.start}", archive, member.start)
    return found, twice


def _root_with_layout(
    uri: str, members: Mapping[str, MemberFile], preset: DatasetPreset, folders: bool = False
) -> ListedPath | None:
    """Return the folder that has the preset's layout: all members, or the one folder that they lie in.

    Args:
        uri: What to call their place.
        members: What they hold.
        preset: Which layouts to look for; without labels it has none.
        folders: Look for folders of images and labels alone, not for labels beside the images.
    """
    for beside in (False,) if folders else (False, True):  # a folder further down is more than labels anywhere below
        root = listed_root(uri, members)
        while root is not None:
            for layout in preset.layouts:
                own = layout.images_folder_name and layout.images_folder(root).is_dir()
                labels = layout.labels_folder(root, None)
                if beside and not layout.images_folder_name and layout.has_labels(root, None):
                    return listed_root(str(root), _below(root, members))
                if not beside and own and labels is not None and labels.is_dir():
                    return listed_root(str(root), _below(root, members))
            inside = [path for path in root.iterdir() if not is_left_out(path.name)]
            root = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
    return None


def _below(root: ListedPath, members: Mapping[str, MemberFile]) -> dict[str, MemberFile]:
    start = f"{root.below_root}/" if root.below_root else ""
    return {name.removeprefix(start): file for name, file in members.items() if name.startswith(start)}
