"""Pack a folder of images and labels into checked shards.

Each shard is written, then its row manifest, then its completion marker; index and `_SUCCESS` come last.
A job that was stopped anywhere goes on from its markers and ends with the bytes of one that was not.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from dakpn import __version__
from dakpn.data import codec, manifest, storage
from dakpn.data.datasets import DatasetPreset, LabelSpace, SourcePair
from dakpn.data.manifest import DatasetIndex, RowRecord, ShardEntry, ShardMarker
from dakpn.data.schema import Sample
from dakpn.data.shards import encode_shard, shard_name
from dakpn.errors import DataError, UsageError

_CHECK_THREADS = min(4, os.cpu_count() or 1)
_ROWS_IN_FLIGHT = 16


class _Plan(NamedTuple):
    """A shard to be: its name, its pairs, and the fingerprint of both."""

    name: str
    pairs: list[SourcePair]
    fingerprint: str


def pack_dataset(
    source: Path | str,
    output_uri: str,
    preset: DatasetPreset,
    split: str | None,
    rows_per_shard: int,
    labelled: bool | None = None,
) -> DatasetIndex:
    """Pack a local dataset into shards, checking every image and label on the way.

    Files are stored as they are, never encoded again. A rerun with the same arguments skips the shards that
    are done, and a finished dataset is left untouched. Memory holds about one shard.

    Args:
        source: Local folder in the preset's layout.
        output_uri: Folder to write, local or `s3://`; only this job should write there.
        preset: Layout and classes of the source.
        split: Folder below the images folder to take; None takes all.
        rows_per_shard: At least 1; the last shard may hold fewer.
        labelled: True requires labels, False leaves them out, None takes them if there are any.

    Returns:
        The index, as `read_index` gives it.

    Raises:
        UsageError: Bad arguments, a source that is not in the preset's layout (see
            `DatasetPreset.find_pairs`), or an output folder that holds another dataset.
        DataError: An image or label that cannot be decoded, sizes that differ, an unknown label id.
        StorageError: A file that cannot be read or written.
    """
    if rows_per_shard < 1:
        raise UsageError(f"got rows_per_shard {rows_per_shard}, expected 1 or more")
    if "://" in str(source):
        raise UsageError(f"cannot pack from {source}: expected a local folder; copy the dataset there first")
    root = Path(source)
    pairs = preset.find_pairs(root, split, labelled)
    has_labels = pairs[0].label_path is not None
    plans = _plan(pairs, rows_per_shard, preset.label_space)
    finished = {plan.name: _finished(output_uri, plan) for plan in plans}
    _refuse_other_dataset(output_uri, finished)
    if not manifest.is_complete(output_uri):
        space = preset.label_space if has_labels else None
        markers = [finished[plan.name] or _pack_shard(plan, root, output_uri, space) for plan in plans]
        index = DatasetIndex(
            label_space=space.to_dict() if space else None,
            labelled=has_labels,
            shards=[_entry(marker) for marker in markers],
        )
        manifest.write_index(output_uri, index)
        manifest.write_run(output_uri, _run_record(root, preset, split, rows_per_shard, index))
        storage.write_bytes(storage.join(output_uri, "README.md"), _card(preset, index).encode())
        manifest.mark_success(output_uri)
    return manifest.read_index(output_uri)


def _entry(marker: ShardMarker) -> ShardEntry:
    return ShardEntry(name=marker.name, rows=marker.rows, sha256=marker.sha256, bytes=marker.bytes)


def _plan(pairs: list[SourcePair], rows_per_shard: int, space: LabelSpace) -> list[_Plan]:
    groups = [pairs[start : start + rows_per_shard] for start in range(0, len(pairs), rows_per_shard)]
    names = [shard_name(index, len(groups)) for index in range(len(groups))]
    return [_Plan(name, group, _fingerprint(group, space)) for name, group in zip(names, groups, strict=True)]


def _fingerprint(pairs: list[SourcePair], space: LabelSpace) -> str:
    """Return a digest that changes with the source files, the label space and the format."""
    files = [
        [pair.key, *(storage.fingerprint(str(path)) for path in (pair.image_path, pair.label_path) if path)]
        for pair in pairs
    ]
    text = json.dumps([manifest.FORMAT_VERSION, space.to_dict(), files])
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(output_uri: str, plan: _Plan) -> ShardMarker | None:
    marker = manifest.read_marker(output_uri, plan.name)
    if marker is None or marker.fingerprint != plan.fingerprint:
        return None
    return marker if storage.exists(manifest.shard_uri(output_uri, plan.name)) else None


def _refuse_other_dataset(output_uri: str, finished: dict[str, ShardMarker | None]) -> None:
    """Keep a job from mixing its shards with those of another, which a reader could not tell apart."""
    advice = "write to a new folder, or delete this one first"
    for uri in storage.list_files(output_uri, ".parquet"):
        name = uri.rpartition("/")[2].removesuffix(".parquet")
        if name not in finished:
            raise UsageError(
                f"{output_uri} already holds {name}.parquet, expected none but the {len(finished)} shards of "
                f"this job; {advice}"
            )
    changed = [name for name, marker in finished.items() if marker is None]
    if changed and manifest.is_complete(output_uri):
        raise UsageError(
            f"{output_uri} already holds a finished dataset, whose shard {changed[0]} was made from other "
            f"files or settings than those given now; {advice}"
        )


def _pack_shard(plan: _Plan, root: Path, output_uri: str, space: LabelSpace | None) -> ShardMarker:
    records: list[RowRecord] = []

    def recorded() -> Iterator[Sample]:
        for sample, record in _read_pairs(plan.pairs, root, space):
            records.append(record)
            yield sample

    data = encode_shard(recorded())
    marker = ShardMarker(
        name=plan.name,
        fingerprint=plan.fingerprint,
        rows=len(records),
        quarantined=0,
        sha256=_digest(data),
        bytes=len(data),
    )
    storage.write_bytes(manifest.shard_uri(output_uri, plan.name), data)
    manifest.write_rows(output_uri, plan.name, records)
    manifest.write_marker(output_uri, marker)
    return marker


def _read_pairs(pairs: list[SourcePair], root: Path, space: LabelSpace | None) -> Iterator[tuple[Sample, RowRecord]]:
    """Read and check pairs in threads (decoding leaves the interpreter lock), a few ahead of the writer."""
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        for start in range(0, len(pairs), _ROWS_IN_FLIGHT):
            group = pairs[start : start + _ROWS_IN_FLIGHT]
            yield from pool.map(lambda pair: _read_pair(pair, root, space), group)


def _read_pair(pair: SourcePair, root: Path, space: LabelSpace | None) -> tuple[Sample, RowRecord]:
    image = storage.read_bytes(str(pair.image_path))
    label = storage.read_bytes(str(pair.label_path)) if pair.label_path else None
    height, width = codec.decode_image(image, str(pair.image_path)).shape[:2]
    if label is not None and space is not None:
        _check_label(label, pair, (height, width), space)
    image_path = pair.image_path.relative_to(root).as_posix()
    label_path = pair.label_path.relative_to(root).as_posix() if pair.label_path else None
    digest = _digest(image)
    record = RowRecord(
        key=pair.key,
        source=image_path,
        source_sha256=digest,
        image_sha256=digest,
        label_sha256=None if label is None else _digest(label),
        height=height,
        width=width,
        status="done",
        reason=None,
    )
    return Sample(pair.key, image, image_path, label, label_path), record


def _check_label(label: bytes, pair: SourcePair, image_size: tuple[int, int], space: LabelSpace) -> None:
    origin = str(pair.label_path)
    ids = codec.decode_label(label, origin)
    if ids.shape != image_size:
        raise DataError(
            f"{origin}: got a label of {ids.shape[1]} x {ids.shape[0]} pixels, expected "
            f"{image_size[1]} x {image_size[0]} as its image {pair.image_path}; replace one of them"
        )
    space.to_train_ids(ids, origin)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _run_record(
    root: Path, preset: DatasetPreset, split: str | None, rows_per_shard: int, index: DatasetIndex
) -> dict[str, object]:
    versions = {name: metadata.version(name) for name in ("numpy", "pillow", "pyarrow")}
    return {
        "command": "pack",
        "source": str(root.resolve()),
        "preset": preset.name,
        "split": split,
        "labelled": index.labelled,
        "rows_per_shard": rows_per_shard,
        "rows": index.rows,
        "versions": {"dakpn": __version__, **versions, "python": platform.python_version()},
    }


def _card(preset: DatasetPreset, index: DatasetIndex) -> str:
    """Return the dataset card."""
    labels = "Labels are the original files." if index.labelled else "It has no labels."
    return f"""{manifest.CARD_HEADER}
# {preset.name}, packed by dakpn

{index.rows} images in {len(index.shards)} shards. Images are the original files. {labels}
Read it with `datasets.load_dataset(FOLDER)` or `dakpn.data.shards.read_shard`. What made it is in
`_dakpn/run.json`, the digest of each row in `_dakpn/manifest/`.
"""
