"""Pack images and labels into checked shards of any format, and convert packed datasets from one to another.

A plan says what each shard holds; `pack_shard` makes one of them, in this process or any other; `finish_pack`
writes index and `_SUCCESS` last. A shard is written, then its row manifest, then its completion marker. A job
that was stopped anywhere goes on from its markers and ends with the bytes of one that was not.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

from dakpn import __version__, storage
from dakpn.config import CheckDepth, Orientation, PackConfig
from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.datasets.inventory import Inventory
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import DatasetIndex, RowRecord, ShardEntry, ShardMarker
from dakpn.datasets.output_lock import claim_folder, refuse_other_shards
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import shard_name, write_shard
from dakpn.errors import DataError, UsageError
from dakpn.sources.exclusions import Exclusions, KeepRule, source_keys
from dakpn.sources.pack_sources import Source, open_source
from dakpn.sources.preset import DatasetPreset, load_preset
from dakpn.sources.row_checks import checked_rows
from dakpn.sources.rows import Rows
from dakpn.wording import counted

_CHECK_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class PackRequest:
    """What to pack, and into what: a `PackConfig` whose preset and list of rows are read.

    Attributes:
        source: A folder in the preset's layout; or a packed dataset in any format; or a folder of Parquet files or
            archives of other tools (see `read_foreign`). Each local or `s3://`.
        output: Folder to write, local or `s3://`; only this job should write there.
        preset: Layout and classes of the source; None means camvid for a folder of `images`. A packed dataset has its
            own.
        split: Split to take; None takes the only one, "all" takes every one.
        rows_per_shard: At least 1; the last shard may hold fewer. None means 256 for a folder, or as
            many as have about 64 MiB if those are fewer; else as the source is cut.
        labelled: True requires labels, False leaves them out, None takes them if there are any.
        format: Format of the output.
        exclude: Rows to leave out, each of which the run record names; None for none.
        check: "headers" leaves pixels and label ids unread, for a source that a check has found clean. Rows of a
            packed dataset that still have their digests are not decoded a second time either way.
        orientation: How the label of an image with an orientation tag lies, where sizes do not tell; None refuses it.
    """

    source: str
    output: str
    preset: DatasetPreset | None = None
    _: KW_ONLY
    split: str | None = None
    rows_per_shard: int | None = None
    labelled: bool | None = None
    format: FormatName = "parquet"
    exclude: Exclusions | None = None
    check: CheckDepth = "pixels"
    orientation: Orientation | None = None

    @classmethod
    def of(cls, config: PackConfig) -> Self:
        """Read what a config names, and make its URIs absolute: shards may be packed in another folder.

        Raises:
            UsageError: An unknown preset, a list of rows of another kind, a rule that keeps nothing.
            StorageError: A list of rows, or the names in the source, cannot be read.
        """
        preset = load_preset(config.dataset) if config.dataset else None
        source = storage.absolute(config.source)
        exclude = Exclusions.read(config.exclude) if config.exclude else None
        if config.keep:
            rest = KeepRule.parse(config.keep).exclusions(source_keys(source, preset, config.split), source)
            exclude = exclude.joined(rest) if exclude else rest
        return cls(
            source,
            storage.absolute(config.output),
            preset,
            split=config.split,
            rows_per_shard=config.rows_per_shard,
            labelled=config.labels,
            format=config.format,
            exclude=exclude,
            check=config.check,
            orientation=config.orientation,
        )


@dataclass(frozen=True)
class ShardJob:
    """One shard to be made: all that `pack_shard` needs, wherever it runs."""

    name: str
    output: str
    format: FormatName
    label_space: LabelSpace | None
    rows: Rows
    fingerprint: str
    check: CheckDepth = "pixels"
    orientation: Orientation | None = None


@dataclass(frozen=True)
class PackPlan:
    """The jobs of a request, and the markers of those that are finished; `complete` if nothing is left to do."""

    request: PackRequest
    source: Source
    jobs: Sequence[ShardJob]
    finished: dict[str, ShardMarker]
    complete: bool

    @property
    def todo(self) -> list[ShardJob]:
        """The jobs without a marker."""
        return [job for job in self.jobs if job.name not in self.finished]


def pack_dataset(
    source: Path | str,
    output_uri: str,
    preset: DatasetPreset | None,
    split: str | None,
    rows_per_shard: int | None,
    labelled: bool | None = None,
    format: FormatName = "parquet",  # noqa: A002 - the word that says it
) -> DatasetIndex:
    """Pack a dataset in this process, checking every image and label on the way; see `PackRequest`.

    Images are stored as they are, never encoded again, and so are labels wherever a net can use them. A rerun
    with the same arguments skips the shards that are done, and a finished dataset is left untouched. Memory
    holds about one shard.

    Returns:
        The index, as `read_index` gives it.

    Raises:
        UsageError: Bad arguments, a source that cannot be packed (see `open_source`), or an output folder that
            holds something else.
        DataError: An image or label that cannot be decoded, sizes that differ, an unknown label id.
        StorageError: A file that cannot be read or written.
    """
    request = PackRequest(
        str(source),
        output_uri,
        preset,
        split=split,
        rows_per_shard=rows_per_shard,
        labelled=labelled,
        format=format,
    )
    plan = plan_pack(request)
    return finish_pack(plan, [pack_shard(job) for job in plan.todo])


def plan_pack(request: PackRequest) -> PackPlan:
    """Look at source and output, take the output, and say what is to be done.

    Raises like `pack_dataset`, before any work.
    """
    if storage.absolute(request.source).rstrip("/") == storage.absolute(request.output).rstrip("/"):
        raise UsageError(f"source and output are both {request.source}; write to another folder")
    source = open_source(
        request.source, request.preset, request.split, request.rows_per_shard, request.labelled, request.exclude
    )
    names = [shard_name(index, len(source.shards)) for index in range(len(source.shards))]
    jobs = [_job(name, rows, request, source) for name, rows in zip(names, source.shards, strict=True)]
    finished = {job.name: marker for job in jobs if (marker := _finished(job)) is not None}
    refuse_other_shards(request.output, request.format, names)
    complete = manifest.is_complete(request.output)
    changed = [name for name in names if name not in finished]
    if changed and complete:
        raise UsageError(
            f"{request.output} already holds a finished dataset, whose shard {changed[0]} was made from other "
            "files or settings than those given now; write to a new folder, or delete this one first"
        )
    claim_folder(request.output, request.format)
    return PackPlan(request, source, jobs, finished, complete)


def pack_shard(job: ShardJob, threads: int = _CHECK_THREADS) -> ShardMarker:
    """Write a shard, its row manifest and its completion marker; run again, it writes the same bytes.

    Raises:
        DataError: An image or label that cannot be decoded, sizes that differ, an unknown label id.
        StorageError: A file that cannot be read or written.
    """
    records: list[RowRecord] = []
    changed = Inventory()

    def recorded() -> Iterator[Sample]:
        for row in checked_rows(job.rows, job.label_space, threads, job.check, job.orientation):
            records.append(row.record)
            for what, which in row.changes:
                changed.change(what, f"{row.sample.key} ({which})" if which else row.sample.key)
            yield row.sample

    written = write_shard(manifest.shard_uri(job.output, job.name, job.format), recorded())
    marker = ShardMarker(
        name=job.name,
        fingerprint=job.fingerprint,
        rows=len(records),
        quarantined=0,
        sha256=written.sha256,
        bytes=written.bytes,
        changed=changed.to_dict() if changed.changed else None,
    )
    manifest.write_rows(job.output, job.name, records)
    manifest.write_marker(job.output, marker)
    return marker


def finish_pack(plan: PackPlan, markers: Sequence[ShardMarker]) -> DatasetIndex:
    """Declare the dataset finished, given the markers of `plan.todo` in any order, and return its index.

    Raises:
        DataError: A key occurs in two shards, or there is no row at all.
        StorageError: A file that cannot be read or written.
    """
    output = plan.request.output
    if not plan.complete:
        done = plan.finished | {marker.name: marker for marker in markers}
        if not plan.source.unique_keys:
            _require_unique_keys(plan)
        if not sum(marker.rows for marker in done.values()):
            raise DataError(f"{plan.source.uri} leaves no row to be packed; expected one image at least")
        space = plan.source.label_space
        index = DatasetIndex(
            format=plan.request.format,
            label_space=space.to_dict() if space else None,
            labelled=space is not None,
            shards=[_entry(done[job.name]) for job in plan.jobs],
        )
        manifest.write_index(output, index)
        inventory = Inventory()
        inventory.add(plan.source.inventory)
        for job in plan.jobs:
            inventory.add(Inventory.from_dict(done[job.name].changed or {}))
        manifest.write_run(output, _run_record(plan, index, inventory))
        storage.write_bytes(storage.join(output, "README.md"), _card(plan.source, index).encode())
        manifest.mark_success(output)
    return manifest.read_index(output)


def _entry(marker: ShardMarker) -> ShardEntry:
    return ShardEntry(name=marker.name, rows=marker.rows, sha256=marker.sha256, bytes=marker.bytes)


def _job(name: str, rows: Rows, request: PackRequest, source: Source) -> ShardJob:
    space = source.label_space
    fingerprint = _fingerprint(rows, space, request)
    return ShardJob(name, request.output, request.format, space, rows, fingerprint, request.check, request.orientation)


def _fingerprint(rows: Rows, space: LabelSpace | None, request: PackRequest) -> str:
    """Return a digest that changes with source files, label space, format version, and what was checked."""
    # Pixels, once the only choice, add nothing: what was packed before keeps its fingerprint.
    depth = [] if request.check == "pixels" else [request.check]
    if request.orientation:
        depth.append(request.orientation)
    text = json.dumps([manifest.FORMAT_VERSION, space.to_dict() if space else None, rows.state(), *depth])
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(job: ShardJob) -> ShardMarker | None:
    marker = manifest.read_marker(job.output, job.name)
    if marker is None or marker.fingerprint != job.fingerprint:
        return None
    return marker if storage.exists(manifest.shard_uri(job.output, job.name, job.format)) else None


def _require_unique_keys(plan: PackPlan) -> None:
    """Refuse a key in two shards: noise is seeded by it, and files are named after it."""
    shard_of: dict[bytes, str] = {}
    for job in plan.jobs:
        for row in manifest.read_rows(job.output, job.name):
            digest = hashlib.blake2b(row.key.encode(), digest_size=12).digest()
            if (other := shard_of.setdefault(digest, job.name)) != job.name:
                raise DataError(
                    f"{plan.source.uri}: the key {row.key!r} is in the shards {other} and {job.name}, expected it "
                    "once; rename rows, or pack the parts as datasets of their own"
                )


def _run_record(plan: PackPlan, index: DatasetIndex, inventory: Inventory) -> dict[str, object]:
    versions = {name: metadata.version(name) for name in ("numpy", "pillow", "pyarrow")}
    request = plan.request
    return {
        "command": "pack",
        "source": plan.source.uri,
        "preset": request.preset.name if request.preset else None,
        "split": request.split,
        "labelled": index.labelled,
        "rows_per_shard": request.rows_per_shard,
        "format": index.format,
        "rows": index.rows,
        "orientation": request.orientation,
        "checked": "headers" if "headers" in (request.check, plan.source.checked) else "pixels",
        "excluded": [row.model_dump() for row in plan.source.excluded],
        "inventory": inventory.to_dict(),
        "versions": {"dakpn": __version__, **versions, "python": platform.python_version()},
    }


def _card(source: Source, index: DatasetIndex) -> str:
    """Return the dataset card."""
    labels = source.label_note if index.labelled else "It has no labels."
    shards = counted(len(index.shards), "shard")
    loaders = "`datasets.load_dataset(FOLDER)` or " if FORMATS[index.format].data_files else ""
    return f"""{manifest.card_header(index.format)}
# {source.title}, packed by dakpn

{counted(index.rows, "image")} in {shards} ({index.format}). Images are the original files. {labels}
Read it with {loaders}`dakpn.datasets.shards.read_shard`. What made it is in
`_dakpn/run.json`, the digest of each row in `_dakpn/manifest/`.
"""
