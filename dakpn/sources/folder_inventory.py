"""What of a folder becomes rows, and why each other file does not."""

import re
from collections.abc import Iterator, Sequence

from dakpn.datasets.formats.foreign import is_named_after
from dakpn.datasets.inventory import NAMED, Inventory, junk_reason
from dakpn.errors import UsageError
from dakpn.images.header import holds_one_channel
from dakpn.sources.layout import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES, UNUSUAL_SUFFIXES, Layout
from dakpn.sources.pairs import SourcePair, is_version_of
from dakpn.sources.preset import DatasetPreset
from dakpn.sources.source_path import SourcePath, all_names_below, name_below, read_head
from dakpn.wording import counted

_PNG_HEAD = 29
_ARRAYS = re.compile(
    r"\.(npy|npz|mat|h5|hdf5|tar|zip|gz|tgz|bz2|xz|zst|7z|rar|parquet|arrow|tfrecords?|mdb|pkl)(\.?\d+)?$",
    re.IGNORECASE,
)
_IMAGE = re.compile(
    rf"({'|'.join(map(re.escape, (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES, *UNUSUAL_SUFFIXES)))})([-_.]?\w{{1,8}})?$",
    re.IGNORECASE,
)
_NOTES = re.compile(r"\.(xml|json|txt|csv|yaml|yml|md|html?|identifier|md5|sha\w+|tmp|part|log)$", re.IGNORECASE)


def folder_inventory(
    root: SourcePath, preset: DatasetPreset, split: str | None, pairs: Sequence[SourcePair]
) -> Inventory:
    """Count every file below the folder `root`, given the pairs that are taken."""
    inventory = Inventory()
    inventory.take("images", len(pairs))
    inventory.take("labels", sum(pair.label_path is not None for pair in pairs))
    used = {name_below(path, root) for pair in pairs for path in pair.files}
    stems = {pair.image_path.stem for pair in pairs}
    labelled = any(pair.label_path is not None for pair in pairs)
    layout = preset.layout_at(root)
    for name in sorted(all_names_below(root)):
        if name not in used:
            reason, data = _reason(name, layout, split, stems, labelled)
            inventory.leave(reason, name, data)
    return inventory


def looks_like_data(name: str) -> bool:
    """Tell by its name whether a file holds an image (`a.jpg`, `a.cr2`, `a.jpg_large`), an array or an archive."""
    return bool(_ARRAYS.search(name) or (_IMAGE.search(name) and not _NOTES.search(name)))


def labels_among_images(pairs: Sequence[SourcePair]) -> Iterator[SourcePair]:
    """Yield the images that look like label maps.

    These are PNG of one channel that are named as another image and a word more, or that have the name of an image in
    another folder, where not all have one channel. Where labels are taken, those are all.

    Raises:
        StorageError: A file cannot be read.
    """
    if any(pair.label_path is not None for pair in pairs):
        return
    keys = {pair.key for pair in pairs}
    folders: dict[str, set[str]] = {}
    for pair in pairs:
        folders.setdefault(pair.image_path.stem, set()).add(pair.key.rpartition("/")[0])
    grey: dict[str, bool] = {}  # the first of a folder stands for those that are named as others
    for pair in pairs:
        if len(folders[pair.image_path.stem]) > 1 and (folder := pair.key.rpartition("/")[0]) not in grey:
            grey[folder] = _is_grey_png(pair.image_path)
    for pair in pairs:
        namesakes = folders[pair.image_path.stem]
        apart = grey.get(pair.key.rpartition("/")[0], False) and not all(grey[folder] for folder in namesakes)
        if (is_named_after(pair.key, keys) or (apart and len(namesakes) > 1)) and _is_grey_png(pair.image_path):
            yield pair


def require_no_other_labels(root: SourcePath, preset: DatasetPreset, pairs: Sequence[SourcePair]) -> None:
    """Refuse images that are taken without labels while label maps of their names lie where the preset has none.

    Raises:
        UsageError: There are such files: PNG of one channel that are named as images, or as those and a word more.
        StorageError: A file cannot be read.
    """
    if not any(layout.labels for layout in preset.layouts):
        return
    used = {name_below(path, root) for pair in pairs for path in pair.files}
    stems = {pair.image_path.stem for pair in pairs}
    layout = preset.layout_at(root)
    grey: dict[str, bool] = {}  # the first of a folder stands for it
    found: list[str] = []
    for name in sorted(all_names_below(root)):
        folder, _, file = name.rpartition("/")
        stem = file.rpartition(".")[0]
        if name in used or junk_reason(name) or layout.split_of_image(name) is not None:
            continue
        if file.lower().endswith(".png") and (stem in stems or is_named_after(stem, stems)):
            if folder not in grey:
                grey[folder] = _is_grey_png(root / name)
            found += [name] if grey[folder] else []
    if found:
        raise UsageError(
            f"{root}: {counted(len(found), 'PNG image')} of one channel, such as {', '.join(found[:NAMED])}, look like "
            f"labels and do not lie where those are looked for ({layout.labels}); move them there, describe the layout "
            "in a preset of your own, or go on without labels: --no-labels"
        )


def _is_grey_png(path: SourcePath) -> bool:
    return path.name.lower().endswith(".png") and holds_one_channel(read_head(path, _PNG_HEAD))


def _reason(name: str, layout: Layout, split: str | None, stems: set[str], labelled: bool) -> tuple[str, bool]:
    """Return why a file is left out, and whether it looks like data."""
    if junk := junk_reason(name):
        return junk, False
    if layout.split_of_image(name) is not None:
        return "images of another split" if split else "images that are left out", bool(split)
    if (found := layout.name_of_label(name)) is not None:
        if not labelled:
            return "labels, which were not asked for", False
        if is_version_of(found, stems):
            return "other versions of labels", False
        return "labels without an image" if split is None else "labels of another split, or without an image", True
    if _ARRAYS.search(name):
        return "arrays, archives and tables", True
    if looks_like_data(name):
        return "images and labels outside the layout", True
    return "other files", False
