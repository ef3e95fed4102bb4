"""The check of one row, which collects what is wrong with it instead of raising the first error."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from dakpn.datasets.formats import ShardRow
from dakpn.datasets.formats.base import require_safe_names
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import DataError, EmptyFileError, FormatError, OversizedError, StorageError
from dakpn.images import codec
from dakpn.images.upright import Orientation, UndecidableError, stored_pair
from dakpn.sources.check_report import Problem, ProblemKind
from dakpn.sources.label_reading import ReadLabel
from dakpn.sources.pairs import SourcePair
from dakpn.sources.row_checks import require_same_size
from dakpn.sources.rows import SourceRow
from dakpn.sources.source_path import read_file

_KINDS: tuple[tuple[type[Exception], ProblemKind], ...] = (  # the first that fits
    (UndecidableError, "undecidable_orientation"),
    (EmptyFileError, "empty_file"),
    (FormatError, "wrong_format"),
    (OversizedError, "oversized"),
    (StorageError, "unreadable"),
)


@dataclass
class Finding:
    """What one row holds, and what is wrong with it."""

    key: str
    path: str
    problems: list[Problem] = field(default_factory=list)
    size: tuple[int, int] | None = None
    labelled: bool = False
    label_ids: dict[int, int] = field(default_factory=dict)
    image_digest: bytes | None = None
    changes: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def noting(self, path: str, kind: ProblemKind | None = None) -> Iterator[None]:
        """Turn an error of the block into a problem, of the kind given or the one that the error tells."""
        try:
            yield
        except (DataError, StorageError) as error:
            self.problems.append(Problem(kind or kind_of(error), self.key, path, str(error)))


def check_pair(pair: SourcePair, space: LabelSpace | None, orientation: Orientation | None = None) -> Finding:
    """Check a pair of files as it would be packed; a label is read only if there is a label space."""
    finding = Finding(pair.key, str(pair.image_path))
    image: bytes | None = None
    label: ReadLabel | None = None
    label_path = str(pair.label_path)
    with finding.noting(finding.path):
        image = read_file(pair.image_path)
    if pair.label_path is not None and space is not None:
        with finding.noting(label_path):
            size = (0, 0)
            with contextlib.suppress(DataError):  # which is noted below
                size = codec.image_size(image or b"", finding.path)
            label = pair.read_label(size)
            finding.changes += label.changes
    _check_stored(finding, image, label and label.data, (finding.path, label_path), space, orientation)
    return finding


def check_source_row(
    load: Callable[[], SourceRow], space: LabelSpace | None, uri: str, orientation: Orientation | None = None
) -> Finding:
    """Check a row of another tool's file, which is read by `load`, as it would be packed."""
    finding = Finding("", uri)
    with finding.noting(uri):
        row = load()
        finding = Finding(row.sample.key, row.source, finding.problems, changes=list(row.changes))
        origins = row.image_origin, row.label_origin
        _check_stored(finding, row.sample.image, row.sample.label, origins, space, orientation)
    return finding


def _check_stored(
    finding: Finding,
    image: bytes | None,
    label: bytes | None,
    origins: tuple[str, str],
    space: LabelSpace | None,
    orientation: Orientation | None,
) -> None:
    """Check image and label, each if it could be read, as they would be stored."""
    origin, label_origin = origins
    label_path = finding.path if label_origin.startswith(f"{finding.path}: ") else label_origin
    if image is not None:
        if image:
            finding.image_digest = hashlib.blake2b(image, digest_size=16).digest()
        with finding.noting(finding.path):
            image, turned, changes = stored_pair(image, label, origin, label_origin, orientation)
            label = turned
            finding.changes += changes
            height, width, _ = codec.decode_image(image, origin).shape
            finding.size = height, width
    if label is not None and space is not None:
        with finding.noting(label_path):
            _check_label(finding, label, label_origin, origin, space)


def check_row(row: ShardRow, uri: str, space: LabelSpace | None, labelled: bool) -> Finding:
    """Check a row of the shard at `uri`; in a `labelled` dataset it must have a label."""
    finding = Finding(row.key, uri)
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


def _check_image(finding: Finding, image: bytes, origin: str) -> None:
    if image:
        finding.image_digest = hashlib.blake2b(image, digest_size=16).digest()
    height, width, _ = codec.decode_image(image, origin).shape
    finding.size = height, width


def _check_label(finding: Finding, label: bytes, origin: str, image_origin: str, space: LabelSpace) -> None:
    finding.labelled = True
    ids = codec.decode_label(label, origin)
    counts = np.bincount(ids.ravel())
    finding.label_ids = {int(found): int(counts[found]) for found in np.flatnonzero(counts)}
    path = finding.path if origin.startswith(f"{finding.path}: ") else origin
    if finding.size is not None:
        with finding.noting(path, "size_mismatch"):
            require_same_size(ids.shape, origin, finding.size, image_origin)
    with finding.noting(path, "unknown_label_id"):
        space.to_train_ids(ids, origin)


def kind_of(error: DataError | StorageError) -> ProblemKind:
    """Return the kind of problem that an error tells of."""
    for type_, kind in _KINDS:
        if isinstance(error, type_):
            return kind
    return "damaged"
