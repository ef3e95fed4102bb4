"""What can be packed: a folder in a preset's layout, a packed dataset in any format, files of other tools.

A source is cut into shards (see `source_rows`) without reading images.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats.foreign import Survey, read_foreign, survey_foreign
from dakpn.datasets.inventory import NAMED, Inventory
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.shards import read_shard
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import UsageError
from dakpn.sources.exclusions import ExcludedRow, Exclusions
from dakpn.sources.folder_inventory import folder_inventory, labels_among_images, require_no_other_labels
from dakpn.sources.kinds import FileSource, FolderSource, PackedSource, find_source, tell_of_default
from dakpn.sources.pairs import Refusal, SourcePair, raise_refusal
from dakpn.sources.preset import DatasetPreset
from dakpn.sources.rows import PairRows, Part, Rows, ShardRows, cut_pairs, cut_parts
from dakpn.sources.source_path import name_below
from dakpn.wording import counted

DEFAULT_ROWS = 256
"""Rows of a shard, at most, where neither caller nor source says how many."""

DEFAULT_BYTES = 64 * 2**20
"""Bytes of such a shard, about: those who read it hold several, and the first row should come within a second."""

_SURVEYS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Source:
    """Rows to be packed, cut into shards.

    Attributes:
        uri: Where they are.
        title: What to call them.
        label_space: Their classes; None to pack without labels.
        label_note: A sentence on what the labels are.
        shards: The rows of each shard.
        unique_keys: Keys are known to differ; otherwise that remains to be checked.
        excluded: The rows that were left out because the caller wanted it.
        checked: How closely the rows were looked at when they were packed before; None if they were not.
        inventory: What is taken, and what is left out and why.
    """

    uri: str
    title: str
    label_space: LabelSpace | None
    label_note: str
    shards: Sequence[Rows]
    unique_keys: bool = True
    excluded: Sequence[ExcludedRow] = ()
    checked: str | None = None
    inventory: Inventory = field(default_factory=Inventory)


def open_source(
    uri: str,
    preset: DatasetPreset | None,
    split: str | None,
    rows_per_shard: int | None,
    labelled: bool | None,
    exclude: Exclusions | None = None,
) -> Source:
    """Find out what is at `uri`, and cut it into shards.

    Args:
        uri: A folder in the preset's layout, or archives that hold one; a packed dataset; `.parquet` or `.tar` files
            of other tools (see `read_foreign`), or a folder of them.
        preset: Layout and classes; None means "camvid" for a folder of `images`. A packed dataset has its own.
        split: Split to take; None takes the only one, "all" every one.
        rows_per_shard: At least 1. None means 256 for a folder, or fewer that have about 64 MiB; else the files' own.
        labelled: True requires labels, False leaves them out, None takes them if there are any.
        exclude: Rows to leave out, not of other tools' files.

    Raises:
        UsageError: Nothing that can be packed is there, several splits, labels in some rows alone, what looks like
            labels and would be lost, or arguments that do not fit.
        DataError: A file of another tool that is damaged.
        StorageError: The source cannot be read.
    """
    if rows_per_shard is not None and rows_per_shard < 1:
        raise UsageError(f"got rows_per_shard {rows_per_shard}, expected 1 or more")
    found = find_source(uri, preset, split)
    if isinstance(found, PackedSource):
        _refuse(uri, "a packed dataset", split=split, preset=preset)
        return _packed(uri, rows_per_shard, labelled, exclude or Exclusions())
    if isinstance(found, FileSource):
        _refuse(uri, f"a folder of {found.files[0].rpartition('.')[2]} files", exclude=exclude)
        return _foreign(found, preset, rows_per_shard, labelled)
    return _folder(found, rows_per_shard, labelled, exclude or Exclusions())


def _folder(found: FolderSource, rows: int | None, labelled: bool | None, exclude: Exclusions) -> Source:
    root, preset = found.root, found.preset

    def refuse(refusal: Refusal) -> None:
        if refusal.key not in exclude.reasons:
            raise_refusal(refusal)

    there = preset.find_pairs(root, found.split, labelled, refuse)
    maps = [pair for pair in labels_among_images(there) if pair.key not in exclude.reasons]
    if maps and labelled is not False:
        raise UsageError(look_like_labels(str(root), [str(pair.image_path) for pair in maps]))
    left = {pair.key for pair in maps}
    pairs = [pair for pair in there if pair.key not in exclude.reasons and pair.key not in left]
    if not pairs:
        raise UsageError(f"every image of {root} is excluded; nothing is left to be packed")
    excluded = [
        ExcludedRow(key=pair.key, source=name_below(pair.image_path, root), reason=exclude.reasons[pair.key])
        for pair in there
        if pair.key in exclude.reasons
    ]
    space = found.label_space if pairs[0].label_path is not None else None
    if space is not None:
        tell_of_default(found)
    elif labelled is None:
        require_no_other_labels(root, preset, there)
    shards = [
        PairRows(root, group) for group in cut_pairs(pairs, rows or DEFAULT_ROWS, None if rows else DEFAULT_BYTES)
    ]
    inventory = _inventory_without(excluded, found, pairs, there, maps)
    return Source(
        str(root.resolve()), preset.name, space, preset.label_note, shards, excluded=excluded, inventory=inventory
    )


def _inventory_without(
    excluded: Sequence[ExcludedRow],
    found: FolderSource,
    pairs: Sequence[SourcePair],
    there: Sequence[SourcePair],
    maps: Sequence[SourcePair],
) -> Inventory:
    """Count a folder's files; those of rows that are left out under their reason, with the pairs that are taken."""
    inventory = folder_inventory(found.root, found.preset, found.split, there)
    inventory.add(found.beside)
    inventory.taken.clear()
    inventory.take("images", len(pairs))
    inventory.take("labels", sum(pair.label_path is not None for pair in pairs))
    for row in excluded:
        inventory.leave("rows that were excluded", row.key)
    for pair in maps:
        inventory.leave("images that look like labels", pair.key, data=True)
    return inventory


def look_like_labels(uri: str, names: Sequence[str]) -> str:
    """Return the sentence about images that are label maps, it seems."""
    return (
        f"{uri}: {len(names)} PNG images of one channel look like label maps, such as {', '.join(names[:NAMED])}; "
        "expected images in color: take them as labels by a preset with this layout or, in archives, by the names "
        "KEY.jpg and KEY.seg.png; or leave them out with --no-labels; or, if they are grey photographs, pack them by "
        "themselves with --dataset images"
    )


def _packed(uri: str, rows_per_shard: int | None, labelled: bool | None, exclude: Exclusions) -> Source:
    index = manifest.read_index(uri)
    if labelled and not index.labelled:
        raise UsageError(f"{uri} has no labels, which were asked for; pack it with its labels first")
    keep = index.labelled and labelled is not False
    space = LabelSpace.from_dict(index.label_space) if keep and index.label_space else None
    excluded: list[ExcludedRow] = []
    wholes: list[Part] = []
    for shard in index.shards:
        at = manifest.shard_uri(uri, shard.name, index.format)
        left_out = _excluded_of_shard(uri, shard.name, at, exclude)
        if not left_out or len(left_out) < shard.rows:
            version = storage.fingerprint(at) + _digest_of_keys([row.key for row in left_out])
            wholes.append(Part(at, version, 0, shard.rows - len(left_out)))
        excluded += left_out
    if not wholes:
        raise UsageError(f"every row of {uri} is excluded; nothing is left to be packed")
    cuts = cut_parts(wholes, rows_per_shard) if rows_per_shard else [[whole] for whole in wholes]
    title = space.dataset if space else "Images"
    note = "Labels are those of the dataset that this one was made from, byte for byte."
    read = partial(read_shard, exclude=frozenset(row.key for row in excluded)) if excluded else read_shard
    shards = [ShardRows(read, parts, keep, uri) for parts in cuts]
    inventory = Inventory()
    inventory.take("images", index.rows - len(excluded))
    inventory.take("labels", index.rows - len(excluded) if keep else 0)
    for row in excluded:
        inventory.leave("rows that were excluded", row.key)
    checked = manifest.read_run(uri).get("checked")
    return Source(
        storage.absolute(uri), title, space, note, shards, excluded=excluded, checked=checked, inventory=inventory
    )


def _excluded_of_shard(uri: str, name: str, at: str, exclude: Exclusions) -> list[ExcludedRow]:
    """Return the rows of a shard that are to be left out, from its row manifest: the shard may be damaged."""
    if not exclude.reasons:
        return []
    keys = (row.key for row in manifest.read_rows(uri, name))
    return [ExcludedRow(key=key, source=at, reason=exclude.reasons[key]) for key in keys if key in exclude.reasons]


def _digest_of_keys(keys: Sequence[str]) -> str:
    """Return what makes a shard another one when other rows are left out; nothing where none are."""
    return "" if not keys else "-without-" + hashlib.sha256("\n".join(keys).encode()).hexdigest()


def _foreign(
    found: FileSource, preset: DatasetPreset | None, rows_per_shard: int | None, labelled: bool | None
) -> Source:
    uri, files = found.uri, found.files
    surveys = list(map_in_threads(survey_foreign, files, _SURVEYS))
    left_out = _require_sure_labels(uri, surveys, preset, labelled)
    with_labels = sum(survey.labelled for survey in surveys)
    if labelled and not with_labels:
        raise UsageError(
            f"{files[0]} has no labels, which were asked for; expected a column label or mask, or members KEY.seg.png"
        )
    keep = with_labels > 0 and labelled is not False
    if keep and preset is None:
        raise UsageError(
            f"{uri} has labels, and nothing says what their ids mean; name the preset of their classes with --dataset, "
            "or pack without labels: --no-labels"
        )
    wholes, inventory = [], Inventory()
    inventory.add(found.inventory)
    for at, survey in zip(files, surveys, strict=True):
        inventory.add(survey.inventory)
        if not survey.rows:
            inventory.leave("files without rows", at.rpartition("/")[2], data=True)
        skipped = left_out.intersection(survey.grey_keys)
        version = storage.fingerprint(at) + _digest_of_keys(sorted(skipped))
        wholes.append(Part(at, version, 0, survey.rows - len(skipped) if rows_per_shard else None))
    if not keep and with_labels:
        inventory.taken.pop("labels", None)
        inventory.leave("labels, which were not asked for", counted(with_labels, "label"))
        inventory.left_out["labels, which were not asked for"].count = with_labels
    for key in sorted(left_out):
        inventory.leave("images that look like labels", key, data=True)
    if left_out:
        inventory.taken["images"] -= len(left_out)
    cuts = cut_parts(wholes, rows_per_shard) if rows_per_shard else [[whole] for whole in wholes]
    title, space = preset.name if preset else "Images", preset.label_space if preset and keep else None
    read = partial(read_foreign, leave_out=left_out) if left_out else read_foreign
    reader = preset.label_reader if preset and keep else None
    shards = [ShardRows(read, parts, keep, reader=reader) for parts in cuts]
    note = "Labels are the original ones, byte for byte."
    return Source(storage.absolute(uri), title, space, note, shards, unique_keys=False, inventory=inventory)


def _require_sure_labels(
    uri: str, surveys: Sequence[Survey], preset: DatasetPreset | None, labelled: bool | None
) -> frozenset[str]:
    """Refuse what may be labels and is not taken for them, and labels of some rows alone.

    Returns:
        Keys of rows that are label maps, it seems, and are to be left out as no labels are wanted.

    Raises:
        UsageError: Labels may be wanted, and which they are is not clear.
    """
    anything = preset is not None and not preset.class_names  # "images": all are images, as the caller says
    maps = [key for survey in surveys for key in (survey.beside if anything else survey.grey_keys)]
    if labelled is False:
        return frozenset(maps)
    if maps:
        raise UsageError(look_like_labels(uri, maps))
    rows, with_labels = sum(survey.rows for survey in surveys), sum(survey.labelled for survey in surveys)
    if preset is not None and not anything:  # labels are meant to be there
        for survey in surveys:
            survey.unused += survey.arrays
    if unused := [name for survey in surveys for name in survey.unused if not anything]:
        raise UsageError(
            f"{uri}: {len(unused)} look like labels and are not taken, such as {', '.join(unused[:NAMED])}; expected "
            "labels in members KEY.png beside KEY.jpg or KEY.seg.png, or in a column label or mask: rename them, or go "
            "on without labels: --no-labels"
        )
    if 0 < with_labels < rows:
        have = [key for survey in surveys for key in survey.with_label][:NAMED]
        lack = [key for survey in surveys for key in survey.without_label][:NAMED]
        raise UsageError(
            f"{uri}: {counted(with_labels, 'row has', 'rows have')} a label (such as {', '.join(have)}) and "
            f"{counted(rows - with_labels, 'has', 'have')} none "
            f"(such as {', '.join(lack)}); expected labels in all rows or in none: add what is missing, or go on "
            "without labels: --no-labels"
        )
    return frozenset()


def _refuse(uri: str, kind: str, **arguments: object) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise UsageError(f"{uri} is {kind}, which takes no {' and no '.join(given)}; leave it out")
