"""What of a folder becomes rows, and why each other file does not."""

from collections.abc import Iterator, Sequence

from dakpn.datasets.formats.foreign import is_named_after
from dakpn.datasets.inventory import Inventory
from dakpn.images.header import holds_one_channel
from dakpn.sources.layout import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES, Layout
from dakpn.sources.pairs import SourcePair
from dakpn.sources.preset import DatasetPreset, is_version_of
from dakpn.sources.source_path import SourcePath, all_names_below, is_hidden, is_junk, name_below, read_file

_IMAGES = (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES)
_ARRAYS = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".tar", ".zip", ".gz", ".tgz", ".parquet", ".arrow", ".tfrecord")


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


def labels_among_images(preset: DatasetPreset, pairs: Sequence[SourcePair]) -> Iterator[SourcePair]:
    """Yield the images that look like label maps: PNG of one channel, named as another image and a word more.

    Only of presets that know no labels: the others say what is one.

    Raises:
        StorageError: A file cannot be read.
    """
    if any(layout.labels for layout in preset.layouts):
        return
    keys = {pair.key for pair in pairs}
    for pair in pairs:
        candidate = pair.image_path.name.lower().endswith(".png") and is_named_after(pair.key, keys)
        if candidate and holds_one_channel(read_file(pair.image_path)):
            yield pair


def _reason(name: str, layout: Layout, split: str | None, stems: set[str], labelled: bool) -> tuple[str, bool]:
    """Return why a file is left out, and whether it looks like data."""
    parts = name.split("/")
    if any(map(is_hidden, parts)):
        return "hidden files", False
    if any(map(is_junk, parts)):
        return "left by file managers", False
    if layout.split_of_image(name) is not None:
        return "images of another split" if split else "images that are left out", bool(split)
    if (found := layout.name_of_label(name)) is not None:
        if not labelled:
            return "labels, which were not asked for", False
        if is_version_of(found, stems):
            return "other versions of labels", False
        return "labels without an image" if split is None else "labels of another split, or without an image", True
    if name.lower().endswith(_IMAGES):
        return "images and labels outside the layout", True
    if name.lower().endswith(_ARRAYS):
        return "arrays, archives and tables", True
    return "other files", False
