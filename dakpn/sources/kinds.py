"""What a source is: a folder in a preset's layout, archives that hold such a folder, files of other tools, or a packed
dataset. And which splits it has: several of them are never mixed unless that is asked for.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

import yaml

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats.foreign import SUFFIXES, is_metadata
from dakpn.datasets.formats.tar import tar_members
from dakpn.datasets.inventory import Inventory
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import UsageError
from dakpn.sources.layout import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES
from dakpn.sources.preset import DatasetPreset, load_preset, preset_names
from dakpn.sources.source_path import (
    ListedPath,
    MemberFile,
    SourcePath,
    is_folder,
    is_left_out,
    listed_root,
    source_path,
)

DEFAULT_PRESET = "camvid"
"""Preset of a folder with `images` and `labels` where the caller names none."""

ALL_SPLITS = "all"
"""Takes every split, where none has this name."""

_SPLIT = re.compile(r"(train|training|valid|validation|val|dev|test|testing|eval|evaluation)(?=[-_.]|$)", re.IGNORECASE)
_UNREAD = {  # ending -> what to do
    ".zip": "unpack it, and pack the folder",
    ".tar.gz": "decompress it with `gunzip`, or unpack it and pack the folder",
    ".tgz": "decompress it with `gunzip`, or unpack it and pack the folder",
    ".tar.bz2": "decompress it, or unpack it and pack the folder",
    ".tar.xz": "decompress it, or unpack it and pack the folder",
    ".tar.zst": "decompress it, or unpack it and pack the folder",
    ".7z": "unpack it, and pack the folder",
    ".rar": "unpack it, and pack the folder",
    ".arrow": "write it as Parquet with `datasets.load_from_disk(FOLDER)[SPLIT].to_parquet(FILE)`",
    ".tfrecord": "write its images as files or Parquet",
    ".h5": "write its images as files",
    ".hdf5": "write its images as files",
    ".npz": "write its images as files",
    ".mat": "write its images as files",
}


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
    """

    root: SourcePath
    preset: DatasetPreset
    split: str | None
    chosen: bool = True

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
            raise UsageError(f"{uri} is a file that is not read; {_way_out(uri)}")
        single = FileSource(uri, [uri])
        return _archived_layout(single, preset) or single
    if storage.exists(storage.join(uri, manifest.FOLDER)):
        return PackedSource(uri)
    if _has_layout(uri, preset or load_preset(DEFAULT_PRESET)):
        found = _folder(source_path(uri), preset or load_preset(DEFAULT_PRESET), split)
        return replace(found, chosen=preset is not None)
    if preset is not None and _holds_its_images(uri, preset):
        return _folder(source_path(uri), preset, split)
    if (found := _find_files(uri, split)) is not None:
        return _archived_layout(found, preset) or found
    if preset is None:
        raise _nothing_found(uri)
    return _folder(source_path(uri), preset, split)


def _is_file(uri: str) -> bool:
    """Tell whether a URI is that of one archive or table, by its ending and by what is there."""
    ends = bool(_suffix(uri) or _way_out(uri))
    return ends and storage.exists(uri) and not (storage.list_files(uri) or storage.list_folders(uri))


def _way_out(name: str) -> str:
    """Return what to do with a file that is not read, by its ending; empty for other files."""
    return next((way for ending, way in _UNREAD.items() if name.lower().endswith(ending)), "")


def _has_layout(uri: str, preset: DatasetPreset) -> bool:
    """Tell whether a folder of images of the preset is there, other than the folder itself."""
    names = filter(None, (layout.images_folder_name for layout in preset.layouts))
    return any(is_folder(storage.join(uri, name)) for name in names)


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


def _find_files(uri: str, split: str | None) -> FileSource | None:
    """Return the files of one kind in a folder, in its folder `data`, or in its folders of splits."""
    listed = _list(uri)
    inventory = Inventory()
    files = next(
        (some for suffix in SUFFIXES if (some := [file for file in listed if _suffix(file.uri) == suffix])), []
    )
    archives = [file for file in listed if _suffix(file.uri) == ".tar"]
    if archives and files != archives:
        metadata = [file for file in files if is_metadata(file.uri)]
        if len(metadata) == len(files):  # as img2dataset writes them: what is known of each image, beside the archives
            files = archives
    if not files:
        return None
    for folder in storage.list_folders(uri):
        name = folder.rpartition("/")[2]
        if not (name == "data" or _SPLIT.fullmatch(name)):
            inventory.leave("folders beside the files", f"{name}/", data=not is_left_out(name))
    files = _of_split(uri, files, listed, split)
    kept = {file.uri for file in files}
    for file in listed:
        if file.uri in kept:
            continue
        if is_left_out(file.name.rpartition("/")[2]):
            inventory.leave("hidden files and junk of file managers", file.name)
        elif _suffix(file.uri):
            if _suffix(file.uri) == _suffix(files[0].uri):
                inventory.leave("files of another split", file.name, data=True)
            elif is_metadata(file.uri):
                inventory.leave("tables of metadata", file.name)
            else:
                inventory.leave("files of another kind", file.name, data=True)
        else:
            data = file.name.lower().endswith((*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES, *_UNREAD))
            inventory.leave("images and archives beside" if data else "other files", file.name, data)
    return FileSource(uri, [file.uri for file in files], inventory)


def _list(uri: str) -> list[_File]:
    """Return the files directly in a folder, in its folder `data`, and in its folders of splits, sorted by name."""
    found = [_File(file, file.rpartition("/")[2], "") for file in storage.list_files(uri)]
    for folder in sorted(storage.list_folders(uri)):
        name = folder.rstrip("/").rpartition("/")[2]
        if name == "data" or _SPLIT.fullmatch(name):
            split = "" if name == "data" else name
            found += [_File(at, f"{name}/{at.rpartition('/')[2]}", split) for at in storage.list_files(folder)]
    return [file._replace(split=file.split or _split_of(file.name)) for file in sorted(found, key=lambda f: f.name)]


def _split_of(name: str) -> str:
    found = _SPLIT.match(name.rpartition("/")[2])
    return found[1] if found else ""


def _suffix(uri: str) -> str:
    """Return the ending of a file of another tool that can be read, in lower case; empty for all others."""
    return next((suffix for suffix in SUFFIXES if uri.lower().endswith(suffix)), "")


def _of_split(uri: str, files: list[_File], listed: list[_File], split: str | None) -> list[_File]:
    files = _as_configured(uri, files, listed)
    splits = sorted({file.split for file in files})
    if split is None:
        _require_one_split(uri, splits)
        return files
    chosen = [file for file in files if file.split == split]
    if not chosen and split != ALL_SPLITS:
        if splits == [""]:
            raise UsageError(f"{uri} has {len(files)} files and no splits, got --split {split}; leave it out")
        raise UsageError(
            f"{uri} has no split {split!r} (there are: {', '.join(filter(None, splits))}); name one of these"
        )
    return chosen or files


def _as_configured(uri: str, files: list[_File], listed: list[_File]) -> list[_File]:
    """Return the files with the splits that a README of the Hugging Face Hub gives them, if it does."""
    card = next((file.uri for file in listed if file.name == "README.md"), None)
    configs = _configs(storage.read_bytes(card)) if card else []
    if not configs:
        return files
    chosen = next((config for config in configs if config.get("config_name") in (None, "default")), configs[0])
    if len(configs) > 1 and chosen.get("config_name") not in (None, "default"):
        names = ", ".join(str(config.get("config_name")) for config in configs)
        raise UsageError(f"{uri} has several configurations: {names}; copy the files of one into a folder of their own")
    entries = chosen.get("data_files")
    if isinstance(entries, str | list) and entries and not isinstance(entries[0], dict):
        entries = [{"split": "", "path": entries}]
    named = []
    for entry in entries if isinstance(entries, list) else []:
        paths = entry.get("path") if isinstance(entry, dict) else None
        for pattern in [paths] if isinstance(paths, str) else paths or []:
            matching = [file for file in files if fnmatchcase(file.name, str(pattern).replace("**/", "*"))]
            named += [file._replace(split=str(entry.get("split", ""))) for file in matching]
    return sorted(named, key=lambda file: file.name) or files


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


def _archived_layout(found: FileSource, preset: DatasetPreset | None) -> FolderSource | None:
    """Return the folder inside archives if it has the preset's layout; None if they hold rows of another kind."""
    if _suffix(found.files[0]) != ".tar":
        return None
    members, twice = _members(found.files)
    if preset is not None and (root := _root_with_layout(found, members, preset)) is not None:
        if twice:
            raise UsageError(f"{twice}; expected it once: take one out")
        return _folder(root, preset, None)
    fitting = [name for name in preset_names() if _root_with_layout(found, members, load_preset(name), folders=True)]
    if not fitting:
        return None
    folders = _some(sorted({name.rpartition("/")[0] for name in members}))
    which = f"the presets {', '.join(fitting)} have them" + (f", not {preset.name}" if preset else "")
    raise UsageError(f"{found.files[0]} holds the folders {folders}, as {which}; name the one that fits with --dataset")


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
    found: FileSource, members: dict[str, MemberFile], preset: DatasetPreset, folders: bool = False
) -> ListedPath | None:
    """Return the folder that has the preset's layout: all members, or the one folder that they lie in.

    Args:
        found: The archives.
        members: What they hold.
        preset: Which layouts to look for; without labels it has none.
        folders: Look for folders of images and labels alone, not for labels beside the images.
    """
    root = listed_root(found.files[0] if len(found.files) == 1 else found.uri, members)
    while True:
        for layout in preset.layouts:
            own = layout.images_folder_name and layout.images_folder(root).is_dir()
            labels = layout.labels_folder(root, None)
            beside = not folders and not layout.images_folder_name and layout.has_labels(root, None)
            if (own and labels is not None and labels.is_dir()) or beside:
                return listed_root(str(root), _below(root, members))
        inside = [path for path in root.iterdir() if not is_left_out(path.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            return None
        root = inside[0]


def _below(root: ListedPath, members: dict[str, MemberFile]) -> dict[str, MemberFile]:
    start = f"{root.below_root}/" if root.below_root else ""
    return {name.removeprefix(start): file for name, file in members.items() if name.startswith(start)}


# ---- nothing was found


def _nothing_found(uri: str) -> UsageError:
    """Say what is there instead of a dataset, and which presets would fit."""
    if not is_folder(uri):
        if storage.exists(uri):
            return UsageError(f"{uri} is a file that is not read; give the folder of a dataset")
        source_path(uri)  # says whether there is a bucket at all
        return UsageError(f"the folder {uri} does not exist; expected the dataset there: check the path")
    fitting = [name for name in preset_names() if _has_layout(uri, load_preset(name))]
    folders = [folder.rstrip("/").rpartition("/")[2] for folder in storage.list_folders(uri)]
    files = [file.rpartition("/")[2] for file in storage.list_files(uri)]
    folders = sorted(name for name in folders if not is_left_out(name))
    files = sorted(name for name in files if not is_left_out(name))
    if fitting:
        return UsageError(
            f"{uri} holds the folders {_some(folders)}, as the presets {', '.join(fitting)} have them; name one of "
            "these with --dataset"
        )
    if {"state.json", "dataset_info.json"} <= set(files) or "dataset_dict.json" in files:
        return UsageError(
            f"{uri} was written by `save_to_disk` of the library datasets, which is not read; {_UNREAD['.arrow']}"
        )
    for name in files:
        if way := _way_out(name):
            return UsageError(f"{uri} holds {name}, a file that is not read; {way}")
    kinds = (("folders", folders), ("files", files))
    there = " and ".join(f"the {kind} {_some(names)}" for kind, names in kinds if names)
    images = any(name.lower().endswith(IMAGE_SUFFIXES) for name in files)
    way = "for images without labels give --dataset images; else " if images or folders else ""
    return UsageError(
        f"{uri} holds {there or 'nothing'}, which no preset that has labels fits; {way}describe the layout in a YAML "
        "file and give it with --dataset (docs/datasets.md), or name the folder of a dataset"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
