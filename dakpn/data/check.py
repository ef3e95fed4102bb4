"""Find all that is wrong with a dataset, before anything is packed or trained on it.

Unlike packing, which stops at the first bad row, a check goes on and collects. It holds a few images at a time, and
of the others the key and a digest.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from dakpn.data import codec, manifest, storage
from dakpn.data.check_report import CheckReport, Problem, ProblemKind
from dakpn.data.datasets import DatasetPreset, Refusal, load_preset
from dakpn.data.formats import ShardRow
from dakpn.data.formats.base import require_safe_names
from dakpn.data.label_space import LabelSpace
from dakpn.data.manifest import ShardEntry
from dakpn.data.pack_sources import DEFAULT_PRESET
from dakpn.data.row_checks import require_same_size
from dakpn.data.shards import shard_rows
from dakpn.data.source_pairs import SourcePair
from dakpn.data.threads import map_in_threads
from dakpn.errors import DataError, EmptyFileError, FormatError, OversizedError, StorageError, UsageError

__all__ = ["CheckReport", "CheckRequest", "Problem", "check_dataset"]

_KINDS: tuple[tuple[type[Exception], ProblemKind], ...] = (  # the first that fits
    (EmptyFileError, "empty_file"),
    (FormatError, "wrong_format"),
    (OversizedError, "oversized"),
    (StorageError, "unreadable"),
)


@dataclass(frozen=True)
class CheckRequest:
    """What to check.

    Attributes:
        uri: A local folder in the preset's layout, or a packed dataset in any format, local or `s3://`.
        preset: Layout and classes of a folder; None means camvid. A packed dataset has its own.
        split: Split to take from a folder; None takes all.
        labelled: For a folder: True requires labels, False ignores them, None takes them if there are any.
        sample: Decode so many images, spread over the dataset; None decodes all.
        seed: Of the sample.
        threads: Images decoded at a time.
    """

    uri: str
    preset: DatasetPreset | None = None
    split: str | None = None
    labelled: bool | None = None
    sample: int | None = None
    seed: int = 0
    threads: int = min(8, os.cpu_count() or 1)


@dataclass
class _Finding:
    """What one row holds, and what is wrong with it."""

    key: str
    path: str
    problems: list[Problem] = field(default_factory=list)
    size: tuple[int, int] | None = None
    labelled: bool = False
    label_ids: dict[int, int] = field(default_factory=dict)
    image_digest: bytes | None = None

    @contextmanager
    def noting(self, path: str, kind: ProblemKind | None = None) -> Iterator[None]:
        """Turn an error of the block into a problem, of the kind given or the one that the error tells."""
        try:
            yield
        except (DataError, StorageError) as error:
            self.problems.append(Problem(kind or _kind_of(error), self.key, path, str(error)))


class _Rows(Protocol):
    """The rows of a dataset to be checked."""

    source: str
    label_space: LabelSpace | None
    total: int

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], _Finding]]:
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
    packed = storage.exists(storage.join(request.uri, manifest.FOLDER))
    rows: _Rows = _PackedRows(request) if packed else _FolderRows(request)
    if not rows.total:
        raise UsageError(f"{request.uri} holds no image; expected at least one: check the URI")
    report = CheckReport(storage.absolute(request.uri), rows.source, rows.label_space, rows.total)
    picked = _spread(rows.total, request.sample, request.seed)
    seen = _Seen(packed)
    checks = rows.checks(picked, report.problems)
    for done, finding in enumerate(map_in_threads(lambda check: check(), checks, request.threads), start=1):
        seen.compare(finding)
        _add(finding, report)
        on_progress(done, len(picked))
    return report


class _FolderRows:
    """The pairs of files of a folder; names, missing labels and double keys are looked at in all of them."""

    def __init__(self, request: CheckRequest) -> None:
        if "://" in request.uri:
            raise UsageError(
                f"cannot check {request.uri}: expected a local folder or a packed dataset; check the URI, or copy the "
                "folder to this machine"
            )
        preset = request.preset or load_preset(DEFAULT_PRESET)
        self._refusals: list[Refusal] = []
        self._pairs = preset.find_pairs(Path(request.uri), request.split, request.labelled, self._refusals.append)
        # Where labels are expected and all are missing, they are refusals, and no pair tells.
        labelled = any(pair.label_path for pair in self._pairs) or any(
            r.kind == "missing_label" for r in self._refusals
        )
        self.label_space = preset.label_space if labelled else None
        self.source = preset.name
        self.total = len(self._pairs)

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], _Finding]]:
        problems += [Problem(found.kind, found.key, str(found.path), str(found.error)) for found in self._refusals]
        return (partial(_check_pair, self._pairs[index], self.label_space) for index in picked)


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

    def checks(self, picked: Sequence[int], problems: list[Problem]) -> Iterator[Callable[[], _Finding]]:
        wanted = set(picked)
        start = 0
        for shard in self._index.shards:
            here = {index - start for index in wanted.intersection(range(start, start + shard.rows))}
            start += shard.rows
            if here:
                yield from self._shard_checks(shard, here, problems)

    def _shard_checks(
        self, shard: ShardEntry, wanted: set[int], problems: list[Problem]
    ) -> Iterator[Callable[[], _Finding]]:
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
                    yield partial(_check_row, row, uri, self.label_space, self._index.labelled)
        except (DataError, StorageError) as error:
            kind, reason = _kind_of(error), str(error)
        if count > shard.rows:
            found = f"{uri}: found {count} rows, expected the {shard.rows} that were packed; copy the shard again"
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

    def compare(self, finding: _Finding) -> None:
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


def _check_pair(pair: SourcePair, space: LabelSpace | None) -> _Finding:
    finding = _Finding(pair.key, str(pair.image_path))
    with finding.noting(finding.path):
        _check_image(finding, storage.read_bytes(finding.path), finding.path)
    if pair.label_path is not None and space is not None:
        label_path = str(pair.label_path)
        with finding.noting(label_path):
            _check_label(finding, pair.read_label(finding.size or (0, 0)), label_path, finding.path, space)
    return finding


def _check_row(row: ShardRow, uri: str, space: LabelSpace | None, labelled: bool) -> _Finding:
    finding = _Finding(row.key, uri)
    origin = f"{uri}: {row.key}"
    with finding.noting(uri):
        sample = row.load()
        with finding.noting(uri, "bad_name"):
            require_safe_names(sample, uri)
        with finding.noting(uri):
            _check_image(finding, sample.image, origin)
        if sample.label is not None and space is not None:
            _check_label(finding, sample.label, f"{origin}: label", origin, space)
        elif labelled and sample.label is None:
            message = f"{origin} has no label, expected one as other rows have; add it, or pack without labels"
            finding.problems.append(Problem("missing_label", row.key, uri, message))
    return finding


def _check_image(finding: _Finding, image: bytes, origin: str) -> None:
    if image:
        finding.image_digest = hashlib.blake2b(image, digest_size=16).digest()
    height, width, _ = codec.decode_image(image, origin).shape
    finding.size = height, width


def _check_label(finding: _Finding, label: bytes, origin: str, image_origin: str, space: LabelSpace) -> None:
    finding.labelled = True
    ids = codec.decode_label(label, origin)
    counts = np.bincount(ids.ravel())
    finding.label_ids = {int(found): int(counts[found]) for found in np.flatnonzero(counts)}
    path = finding.path if origin.startswith(f"{finding.path}: ") else origin
    if finding.size is not None:
        with finding.noting(path, "size_mismatch"):
            require_same_size(ids, origin, finding.size, image_origin)
    with finding.noting(path, "unknown_label_id"):
        space.to_train_ids(ids, origin)


def _add(finding: _Finding, report: CheckReport) -> None:
    report.keys.append(finding.key)
    report.labelled += finding.labelled
    report.problems += finding.problems
    report.label_ids.update(finding.label_ids)
    report.labels_with_id.update(finding.label_ids.keys())
    if finding.size is not None:
        report.sizes[finding.size] += 1


def _kind_of(error: DataError | StorageError) -> ProblemKind:
    return next((kind for type_, kind in _KINDS if isinstance(error, type_)), "damaged")


def _spread(total: int, sample: int | None, seed: int) -> Sequence[int]:
    """Return which rows to look at: one of each of `sample` equal stretches, or all."""
    if sample is None or sample >= total:
        return range(total)
    draw = random.Random(seed)  # noqa: S311 - no secret
    bounds = [index * total // sample for index in range(sample + 1)]
    return [draw.randrange(start, stop) for start, stop in pairwise(bounds)]
