"""Find all that is wrong with a dataset, before anything is packed or trained on it.

Unlike packing, which stops at the first bad row, a check goes on and collects. It holds a few images at a time, and
of the others the key and a digest.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol, Self

from dakpn import storage
from dakpn.config import CheckConfig, Orientation
from dakpn.datasets import manifest
from dakpn.datasets.inventory import Inventory
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.manifest import ShardEntry
from dakpn.datasets.shards import shard_rows
from dakpn.datasets.threads import map_in_threads
from dakpn.errors import DataError, StorageError, UsageError
from dakpn.sources.check_report import CheckReport, Problem, ProblemKind
from dakpn.sources.folder_inventory import folder_inventory, labels_among_images, require_no_other_labels
from dakpn.sources.kinds import FolderSource, PackedSource, find_source, tell_of_default
from dakpn.sources.pack_sources import DEFAULT_ROWS, look_like_labels, open_source
from dakpn.sources.pairs import Refusal, SourcePair
from dakpn.sources.preset import DatasetPreset, load_preset
from dakpn.sources.row_checks import Finding, check_pair, check_row, check_source_row, kind_of
from dakpn.sources.rows import READS_IN_FLIGHT
from dakpn.sources.source_path import ListedPath, SourcePath, name_below
from dakpn.wording import counted

__all__ = ["CheckReport", "CheckRequest", "Problem", "check_dataset"]


@dataclass(frozen=True)
class CheckRequest:
    """What to check: a `CheckConfig` whose preset is read.

    Attributes:
        uri: All that can be packed (see `open_source`), or a packed dataset in any format, local or `s3://`.
        preset: Layout and classes of a folder; None means camvid for a folder of `images`. A packed dataset has
            its own.
        split: Split to take; None takes the only one, "all" takes every one.
        labelled: For a folder: True requires labels, False ignores them, None takes them if there are any.
        sample: Decode so many images, spread over the dataset; None decodes all.
        seed: Seed of the sample.
        threads: Images decoded at a time; of a folder in a bucket `READS_IN_FLIGHT`.
        orientation: See `PackRequest`.
    """

    uri: str
    preset: DatasetPreset | None = None
    _: KW_ONLY
    split: str | None = None
    labelled: bool | None = None
    sample: int | None = None
    seed: int = 0
    threads: int = min(8, os.cpu_count() or 1)
    orientation: Orientation | None = None

    @classmethod
    def of(cls, config: CheckConfig) -> Self:
        """Read what a config names. Raises `UsageError` for an unknown preset."""
        return cls(
            config.source,
            load_preset(config.dataset) if config.dataset else None,
            split=config.split,
            labelled=config.labels,
            sample=config.sample,
            seed=config.seed,
            orientation=config.orientation,
        )


class _Rows(Protocol):
    """The rows of a dataset to be checked."""

    source: str
    label_space: LabelSpace | None
    total: int
    threads: int
    inventory: Inventory

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], Finding]]:
        """Yield functions, to be called in threads, that check a row each; add problems of no row to `problems`."""
        ...


def check_dataset(
    request: CheckRequest, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> CheckReport:
    """Look at every image and label, or at a sample of them, and report all that is wrong.

    Args:
        request: What to check.
        on_progress: Called after each row with the number of rows done and of those to be done.

    Raises:
        UsageError: Nothing that can be checked is there, or it is empty.
        DataError: The index of a packed dataset is damaged.
        StorageError: The dataset cannot be listed.
    """
    if request.sample is not None and request.sample < 1:
        raise UsageError(f"got a sample of {request.sample} images, expected 1 or more; leave it out to check all")
    found = find_source(request.uri, request.preset, request.split)
    rows: _Rows
    if isinstance(found, PackedSource):
        rows = _PackedRows(request)
    else:
        rows = _FolderRows(request, found) if isinstance(found, FolderSource) else _ForeignRows(request)
    if not rows.total:
        raise UsageError(f"{request.uri} holds no image; expected at least one: check the URI")
    report = CheckReport(storage.absolute(request.uri), rows.source, rows.label_space, rows.total)
    report.inventory.add(rows.inventory)
    picked = _spread(rows.total, request.sample, request.seed)
    seen = _Seen(not isinstance(found, FolderSource))
    checks = rows.checks(picked, report.problems)
    for done, finding in enumerate(map_in_threads(lambda check: check(), checks, rows.threads), start=1):
        seen.compare(finding)
        _add(finding, report)
        on_progress(done, len(picked))
    return report


class _FolderRows:
    """The pairs of files of a folder; names, missing labels and double keys are looked at in all of them."""

    def __init__(self, request: CheckRequest, found: FolderSource) -> None:
        preset, self._root = found.preset, found.root
        self.threads = READS_IN_FLIGHT if isinstance(self._root, ListedPath) else request.threads
        self._refusals: list[Refusal] = []
        self._orientation: Orientation | None = request.orientation
        self._pairs = preset.find_pairs(self._root, found.split, request.labelled, self._refusals.append)
        # Where labels are expected and all are missing, they are refusals, and no pair tells.
        labelled = any(pair.label_path for pair in self._pairs) or any(
            r.kind == "missing_label" for r in self._refusals
        )
        self.label_space = found.label_space if labelled else None
        self._stray_labels = preset.find_stray_labels(self._root, found.split, self._pairs) if labelled else []
        self.inventory = folder_inventory(self._root, preset, found.split, self._pairs)
        self.inventory.add(found.beside)
        if labelled:
            tell_of_default(found)
        elif request.labelled is None:
            require_no_other_labels(self._root, preset, self._pairs)
        self._maps = [] if request.labelled is False else list(labels_among_images(self._pairs))
        self.source = preset.name
        self.total = len(self._pairs)

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], Finding]]:
        problems += [Problem(found.kind, found.key, str(found.path), str(found.error)) for found in self._refusals]
        problems += [self._without_image(path) for path in self._stray_labels]
        problems += [self._label_map(pair) for pair in self._maps]
        return (partial(check_pair, self._pairs[index], self.label_space, self._orientation) for index in picked)

    def _without_image(self, label: SourcePath) -> Problem:
        key = name_below(label, self._root)  # with its ending: the key of no image
        message = (
            f"{label}: the label belongs to no image, expected one of its name; add the image, or remove the label"
        )
        return Problem("missing_image", key, str(label), message)

    def _label_map(self, pair: SourcePair) -> Problem:
        path = str(pair.image_path)
        return Problem("label_among_images", pair.key, path, look_like_labels(str(self._root), [path]))


class _ForeignRows:
    """The rows of other tools' files; a file that cannot be read on ends its rows."""

    def __init__(self, request: CheckRequest) -> None:
        source = open_source(request.uri, request.preset, request.split, DEFAULT_ROWS, request.labelled)
        self._shards = source.shards
        self._uri = request.uri
        self._orientation: Orientation | None = request.orientation
        self.label_space = source.label_space
        self.source = source.title
        self.inventory = source.inventory
        self.total = source.inventory.taken.get("images", 0)
        self.threads = request.threads

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], Finding]]:
        wanted = set(picked)
        position = 0
        for shard in self._shards:
            try:
                for load in shard.load():
                    if position in wanted:
                        yield partial(check_source_row, load, self.label_space, self._uri, self._orientation)
                    position += 1
            except (DataError, StorageError) as error:
                problems.append(Problem(kind_of(error), "", str(error).partition(": ")[0], str(error)))


class _PackedRows:
    """The rows of a packed dataset; shards that hold no picked row are not opened."""

    def __init__(self, request: CheckRequest) -> None:
        if request.preset or request.split is not None or request.labelled is not None:
            raise UsageError(f"{request.uri} is a packed dataset, which has its own classes and no split; give neither")
        index = manifest.read_index(request.uri)
        self._uri, self._index = request.uri, index
        self.label_space = LabelSpace.from_dict(index.label_space) if index.labelled and index.label_space else None
        self.source = index.format
        self.total = index.rows
        self.inventory = Inventory({"images": index.rows})
        self.inventory.take("labels", index.rows if index.labelled else 0)
        self.threads = request.threads

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], Finding]]:
        wanted = set(picked)
        start = 0
        for shard in self._index.shards:
            here = {index - start for index in wanted.intersection(range(start, start + shard.rows))}
            start += shard.rows
            if here:
                yield from self._shard_checks(shard, here, problems)

    def _shard_checks(
        self, shard: ShardEntry, wanted: set[int], problems: list[Problem]
    ) -> Iterator[Callable[[], Finding]]:
        uri = manifest.shard_uri(self._uri, shard.name, self._index.format)
        seen: set[str] = set()
        count = 0
        kind: ProblemKind = "missing_row"
        reason = f"{uri}: found fewer rows than the {shard.rows} that were packed; copy the shard again"
        try:
            for row in shard_rows(uri):
                seen.add(row.key)
                count += 1
                if count - 1 in wanted or count > shard.rows:
                    yield partial(check_row, row, uri, self.label_space, self._index.labelled)
        except (DataError, StorageError) as error:
            kind, reason = kind_of(error), str(error)
        if count > shard.rows:
            rows = counted(count, "row")
            found = f"{uri}: found {rows}, expected the {shard.rows} that were packed; copy the shard again"
            problems.append(Problem("damaged", "", uri, found))
        elif kind != "missing_row" or count < shard.rows:
            problems += [Problem(kind, key, uri, reason) for key in self._unread(shard, seen)]

    def _unread(self, shard: ShardEntry, seen: set[str]) -> list[str]:
        """Return the keys of the rows that a shard should hold besides those seen; one empty key if unknown."""
        try:
            return [row.key for row in manifest.read_rows(self._uri, shard.name) if row.key not in seen] or [""]
        except (DataError, StorageError):
            return [""]


class _Seen:
    """Finds images, and keys where those can repeat, that occur twice."""

    def __init__(self, compare_keys: bool) -> None:
        self._compare_keys = compare_keys
        self._images: dict[bytes, str] = {}
        self._keys: dict[str, str] = {}

    def compare(self, finding: Finding) -> None:
        """Add a problem to a finding that repeats an earlier one."""
        key, path = finding.key, finding.path
        if self._compare_keys and key:
            if (other := self._keys.get(key)) is not None:
                message = f"{path}: the key {key!r} is also in {other}, expected it once; rename one of the rows"
                finding.problems.append(Problem("duplicate_key", key, path, message))
            self._keys.setdefault(key, path)
        if finding.image_digest is not None:
            first = self._images.setdefault(finding.image_digest, key)
            if first != key:
                message = f"{path}: {key!r} is the same image, byte for byte, as {first!r}; leave one of them out"
                finding.problems.append(Problem("duplicate_image", key, path, message))


def _add(finding: Finding, report: CheckReport) -> None:
    report.keys.append(finding.key)
    report.labelled += finding.labelled
    report.problems += finding.problems
    for what, which in finding.changes:
        report.inventory.change(what, f"{finding.key} ({which})" if which else finding.key)
    report.label_ids.update(finding.label_ids)
    report.labels_with_id.update(finding.label_ids.keys())
    if finding.size is not None:
        report.sizes[finding.size] += 1


def _spread(total: int, sample: int | None, seed: int) -> Sequence[int]:
    """Return which rows to look at: one of each of `sample` equal stretches, or all."""
    if sample is None or sample >= total:
        return range(total)
    draw = random.Random(seed)  # noqa: S311 - no secret
    bounds = [index * total // sample for index in range(sample + 1)]
    return [draw.randrange(start, stop) for start, stop in pairwise(bounds)]
