"""What can be packed: a folder in a preset's layout, a packed dataset in any format, files of other tools.

A source is cut into shards (see `source_rows`) without reading images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from dakpn.data import manifest, storage
from dakpn.data.datasets import DatasetPreset, Refusal, load_preset, raise_refusal
from dakpn.data.exclusion import ExcludedRow, Exclusions
from dakpn.data.formats.foreign import count_foreign, list_foreign, read_foreign
from dakpn.data.label_space import LabelSpace
from dakpn.data.shards import read_shard
from dakpn.data.source_path import SourcePath, is_folder, name_below, source_path
from dakpn.data.source_rows import PairRows, Part, Rows, ShardRows, cut_pairs, cut_parts
from dakpn.errors import UsageError

DEFAULT_ROWS = 256
"""Rows of a shard, at most, where neither caller nor source says how many."""

DEFAULT_BYTES = 64 * 2**20
"""Bytes of such a shard, about: those who read it hold several, and the first row should come within a second."""

DEFAULT_PRESET = "camvid"
"""Preset of a folder where the caller names none."""


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
    """

    uri: str
    title: str
    label_space: LabelSpace | None
    label_note: str
    shards: Sequence[Rows]
    unique_keys: bool = True
    excluded: Sequence[ExcludedRow] = ()
    checked: str | None = None


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
        uri: A folder in the preset's layout, a packed dataset, or a folder of `.parquet` or `.tar` files (see
            `read_foreign`).
        preset: Layout and classes; None means "camvid" for a folder. A packed dataset has its own.
        split: Split of the preset's layout; None takes all.
        rows_per_shard: At least 1. None means 256 for a folder, or fewer that have about 64 MiB; else the files' own.
        labelled: True requires labels, False leaves them out, None takes them if there are any.
        exclude: Rows to leave out, not of other tools' files.

    Raises:
        UsageError: Nothing that can be packed is there, or arguments that do not fit it.
        DataError: A file of another tool that is damaged.
        StorageError: The source cannot be read.
    """
    if rows_per_shard is not None and rows_per_shard < 1:
        raise UsageError(f"got rows_per_shard {rows_per_shard}, expected 1 or more")
    if storage.exists(storage.join(uri, "_dakpn")):
        _refuse(uri, "a packed dataset", split=split, preset=preset)
        return _packed(uri, rows_per_shard, labelled, exclude or Exclusions())
    if not _has_layout(uri, preset) and (files := list_foreign(uri)):
        _refuse(uri, f"a folder of {files[0].rpartition('.')[2]} files", split=split, exclude=exclude)
        return _foreign(uri, files, preset, rows_per_shard, labelled)
    preset = preset or load_preset(DEFAULT_PRESET)
    return _folder(source_path(uri), preset, split, rows_per_shard, labelled, exclude or Exclusions())


def _folder(
    root: SourcePath,
    preset: DatasetPreset,
    split: str | None,
    rows: int | None,
    labelled: bool | None,
    exclude: Exclusions,
) -> Source:
    def refuse(refusal: Refusal) -> None:
        if refusal.key not in exclude.reasons:
            raise_refusal(refusal)

    found = preset.find_pairs(root, split, labelled, refuse)
    pairs = [pair for pair in found if pair.key not in exclude.reasons]
    if not pairs:
        raise UsageError(f"all {len(found)} images of {root} are excluded; nothing is left to be packed")
    excluded = [
        ExcludedRow(key=pair.key, source=name_below(pair.image_path, root), reason=exclude.reasons[pair.key])
        for pair in found
        if pair.key in exclude.reasons
    ]
    space = preset.label_space if pairs[0].label_path is not None else None
    shards = [
        PairRows(root, group) for group in cut_pairs(pairs, rows or DEFAULT_ROWS, None if rows else DEFAULT_BYTES)
    ]
    return Source(str(root.resolve()), preset.name, space, preset.label_note, shards, excluded=excluded)


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
            version = storage.fingerprint(at) + _digest_of_keys(left_out)
            wholes.append(Part(at, version, 0, shard.rows - len(left_out)))
        excluded += left_out
    if not wholes:
        raise UsageError(f"all {index.rows} rows of {uri} are excluded; nothing is left to be packed")
    cuts = cut_parts(wholes, rows_per_shard) if rows_per_shard else [[whole] for whole in wholes]
    title = space.dataset if space else "Images"
    note = "Labels are those of the dataset that this one was made from, byte for byte."
    read = partial(read_shard, exclude=frozenset(row.key for row in excluded)) if excluded else read_shard
    shards = [ShardRows(read, parts, keep, uri) for parts in cuts]
    checked = manifest.read_run(uri).get("checked")
    return Source(storage.absolute(uri), title, space, note, shards, excluded=excluded, checked=checked)


def _excluded_of_shard(uri: str, name: str, at: str, exclude: Exclusions) -> list[ExcludedRow]:
    """Return the rows of a shard that are to be left out, from its row manifest: the shard may be damaged."""
    if not exclude.reasons:
        return []
    keys = (row.key for row in manifest.read_rows(uri, name))
    return [ExcludedRow(key=key, source=at, reason=exclude.reasons[key]) for key in keys if key in exclude.reasons]


def _digest_of_keys(rows: Sequence[ExcludedRow]) -> str:
    """Return what makes a shard another one when other rows are left out; nothing where none are."""
    return "" if not rows else "-without-" + hashlib.sha256("\n".join(row.key for row in rows).encode()).hexdigest()


def _foreign(
    uri: str, files: list[str], preset: DatasetPreset | None, rows_per_shard: int | None, labelled: bool | None
) -> Source:
    first = next(read_foreign(files[0]), None)
    found = first is not None and first.label is not None
    if labelled and not found:
        raise UsageError(
            f"{files[0]} has no labels, which were asked for; expected a column label or mask, or members KEY.seg.png"
        )
    keep = found and labelled is not False
    if keep and preset is None:
        raise UsageError(
            f"{uri} has labels, and nothing says what their ids mean; name the preset of their classes, or pack "
            "without labels"
        )
    wholes = [Part(at, storage.fingerprint(at), 0, count_foreign(at) if rows_per_shard else None) for at in files]
    cuts = cut_parts(wholes, rows_per_shard) if rows_per_shard else [[whole] for whole in wholes]
    title, space = preset.name if preset else "Images", preset.label_space if preset and keep else None
    shards = [ShardRows(read_foreign, parts, keep) for parts in cuts]
    note = "Labels are the original ones, byte for byte."
    return Source(storage.absolute(uri), title, space, note, shards, unique_keys=False)


def _has_layout(uri: str, preset: DatasetPreset | None) -> bool:
    """Tell whether a folder of images of the preset is there, other than the folder itself."""
    layouts = (preset or load_preset(DEFAULT_PRESET)).layouts
    names = filter(None, (layout.images_folder_name for layout in layouts))
    return any(is_folder(storage.join(uri, name)) for name in names)


def _refuse(uri: str, kind: str, **arguments: object) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise UsageError(f"{uri} is {kind}, which takes no {' and no '.join(given)}; leave it out")
