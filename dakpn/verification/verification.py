"""Verify an output shard against its input from the two alone, without trusting any manifest.

Rows are paired by key, whatever their order, so that one row too few is one difference and not one for each row
behind it. A row waits in memory only until its counterpart comes.
"""

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol

from dakpn.datasets.certificate import ShardCertificate
from dakpn.datasets.quarantine import QuarantinedRow
from dakpn.datasets.schema import Sample
from dakpn.errors import DakpnError, DataError, StorageError
from dakpn.images import codec
from dakpn.images.header import require_checksums
from dakpn.translation.shard_rows import InputRow, input_rows
from dakpn.verification.report import Difference, DifferenceKind, ShardFindings
from dakpn.wording import counted


@dataclass(frozen=True)
class ShardPair:
    """A shard of the input and that of the output that has its name.

    Attributes:
        name: Name of both.
        source, result: URIs (`manifest.shard_uri`) in the input and the output; they may differ in format.
        source_rows, result_rows: How many rows the indexes say they have.
    """

    name: str
    source: str
    result: str
    source_rows: int
    result_rows: int


class ImageCheck(Protocol):
    """Compares stored images with what they should be; see `Retranslation`."""

    def picked(self, shard: str, rows: int) -> Container[int]:
        """Return the positions, from 0, of the rows to be compared."""
        ...

    def difference(self, before: Sample, after: Sample, source: str, result: str) -> str | None:
        """Return a sentence on how the stored image `after` differs; None if it does not. Raises `DataError`."""
        ...


def compare_shards(
    pair: ShardPair,
    quarantined: Iterable[QuarantinedRow] = (),
    *,
    decode: bool = False,
    images: ImageCheck | None = None,
) -> ShardFindings:
    """Compare an output shard with its input and name every difference.

    Checked: every key once and in the input's order, but for those in the quarantine; labels byte for byte; paths;
    image sizes; headers and checksums of the images. No pixel is decoded for that.

    Args:
        pair: The shards.
        quarantined: Rows of the input that are in the quarantine instead of the output.
        decode: Decode every image of the output, too: finds damaged JPEG data, which has no checksums.
        images: Compares some images with what they should be; None compares none.
    """
    return ShardComparison(pair, quarantined, decode, images).run()


class Facts(NamedTuple):
    """What the certificate is over; the label's digest is in hexadecimal, the size in pixels."""

    key: str
    label_sha256: str | None
    height: int
    width: int


@dataclass
class _Side:
    """One of the two shards: its URI, its keys in order, and the rows whose counterpart has not come."""

    uri: str
    keys: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=dict)


class OutputRow(Protocol):
    """A row of the output, whatever it holds."""

    @property
    def key(self) -> str:
        """As stored."""
        ...

    @property
    def error(self) -> str | None:
        """What is wrong with the row; None if nothing is."""
        ...


class ShardComparison:
    """One comparison; see `compare_shards`. Subclasses say what the output's rows are, and how one is compared."""

    def __init__(
        self, pair: ShardPair, quarantined: Iterable[QuarantinedRow], decode: bool, images: ImageCheck | None
    ) -> None:
        self._pair = pair
        self._quarantined = {row.position: row for row in quarantined}
        self._quarantined_found = 0
        self._rows = 0
        self._decode = decode
        self._images = images
        self._picked = images.picked(pair.name, pair.source_rows) if images else ()
        self._source, self._result = _Side(pair.source), _Side(pair.result)
        self._differences: list[Difference] = []
        self._facts: dict[str, Facts | None] = {}
        self._retranslated = 0

    def run(self) -> ShardFindings:
        """Compare all rows, whatever their order."""
        certificate = None
        try:
            for before, after in zip_longest(_rows(self._source.uri), self.output_rows(self._result.uri)):
                if before is not None:
                    self._take_input(before)
                if after is not None and self._is_new(after, self._result):
                    self._take_output(after)
        except DakpnError as error:
            self.differ("unreadable_shard", "", str(error))
        else:
            self._compare_keys()
            self._compare_counts()
            certificate = self._certificate()
        return ShardFindings(
            self._pair.name,
            self._rows,
            self._quarantined_found,
            certificate,
            self._retranslated,
            tuple(self._differences),
        )

    def output_rows(self, uri: str) -> Iterator[OutputRow]:
        """Yield the rows of the output's shard. Raises `DakpnError` if they cannot be told apart."""
        return _rows(uri)

    def _is_new(self, row: OutputRow, side: _Side) -> bool:
        if row.key in side.keys:
            self.differ("duplicate_row", row.key, f"{side.uri}: row {row.key} is there twice, expected once")
            return False
        side.keys[row.key] = None
        return True

    def _take_input(self, row: InputRow) -> None:
        self._rows += 1
        if kept := self._quarantined.get(row.position):
            self._quarantined_found += 1
            if kept.key != row.key or (row.sample and _bytes_of(row.sample) != _bytes_of(kept)):
                message = f"{self._source.uri}: row {row.position} ({row.key}) is not what the quarantine holds of it"
                self.differ("quarantine", row.key, message)
            return
        if not self._is_new(row, self._source):
            return
        self._facts[row.key] = self._facts_of(row)
        other = self._result.waiting.pop(row.key, None)
        if other is None:
            self._source.waiting[row.key] = row
        else:
            self.compare(row, other, self._facts[row.key])

    def _take_output(self, row: OutputRow) -> None:
        if row.error is not None:
            self.differ("unreadable_row", row.key, row.error)
        other = self._source.waiting.pop(row.key, None)
        if other is None:
            self._result.waiting[row.key] = row
        else:
            self.compare(other, row, self._facts[other.key])

    def _facts_of(self, row: InputRow) -> Facts | None:
        """Return what a certificate says of a row of the input; None, and a difference, if it cannot be read."""
        try:
            if row.sample is None or row.error is not None:
                raise DataError(row.error or f"{self._source.uri}: {row.key} cannot be read")
            size = codec.image_size(row.sample.image, f"{self._source.uri}: {row.key}")
        except DataError as error:
            self.differ("unreadable_row", row.key, str(error))
            return None
        return Facts(row.key, _sha256(row.sample.label), *size)

    def compare(self, before: InputRow, after: Any, facts: Facts | None) -> None:
        """Compare a row of the output with its counterpart, of which `facts` are known unless it cannot be read."""
        if before.sample is None or after.sample is None:
            return
        key, uri = before.key, self._result.uri
        if before.sample.label != after.sample.label:
            found = f"sha256 {_short(before.sample.label)} in, {_short(after.sample.label)} out"
            self.differ("label", key, f"{uri}: the label of {key} differs ({found})")
        for kind in ("image_path",) if after.sample.label is None else ("image_path", "label_path"):
            expected, path = getattr(before.sample, kind), getattr(after.sample, kind)
            if path != expected:
                self.differ("path", key, f"{uri}: the {kind} of {key} is {path!r}, expected {expected!r}")
        try:
            if facts is not None and self._is_whole(after.sample, (facts.height, facts.width)):
                self._compare_pixels(before, after)
        except DataError as error:
            self.differ("image", key, str(error))

    def _is_whole(self, after: Sample, expected: tuple[int, int]) -> bool:
        """Tell whether an image has the size expected. Raises `DataError` if it is damaged."""
        origin = f"{self._result.uri}: {after.key}"
        size = codec.image_size(after.image, origin)
        require_checksums(after.image, origin)
        if self._decode:
            codec.decode_image(after.image, origin)
        if size != expected:
            sizes = f"{size[1]} x {size[0]} pixels, expected {expected[1]} x {expected[0]}"
            message = f"{self._result.uri}: the image of {after.key} has another size than the input's ({sizes})"
            self.differ("image_size", after.key, message)
        return size == expected

    def _compare_pixels(self, before: InputRow, after: InputRow) -> None:
        if self._images is None or before.position not in self._picked or not before.sample or not after.sample:
            return
        self._retranslated += 1
        sentence = self._images.difference(before.sample, after.sample, self._source.uri, self._result.uri)
        if sentence:
            self.differ("pixels", before.key, sentence)

    def _compare_keys(self) -> None:
        uri = self._result.uri
        for key in self._source.waiting:
            self.differ("missing_row", key, f"{uri}: row {key} is missing in the output")
        kept = {row.key for row in self._quarantined.values()}
        for key in self._result.waiting:
            place = "is in the quarantine, too" if key in kept else "is missing in the input"
            self.differ("extra_row", key, f"{uri}: row {key} {place}")
        for position, row in self._quarantined.items():
            if position >= self._rows:
                message = f"{self._source.uri}: the quarantine holds row {position} ({row.key}), which is not there"
                self.differ("quarantine", row.key, message)
        found = [key for key in self._result.keys if key not in self._result.waiting]
        expected = [key for key in self._facts if key not in self._source.waiting]
        first = next((pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]), None)
        if first:
            message = f"{uri}: found row {first[0]} where {first[1]} was expected; the order is not the input's"
            self.differ("row_order", first[0], message)

    def _compare_counts(self) -> None:
        # Not with the rows found in the output: one that is missing there makes no lie of the index.
        for side, claimed, count in (
            (self._source, self._pair.source_rows, self._rows),
            (self._result, self._pair.result_rows, len(self._facts)),
        ):
            if claimed != count:
                message = f"{side.uri}: the dataset's index says {counted(claimed, 'row')}, expected {count}"
                self.differ("index", "", message)

    def _certificate(self) -> ShardCertificate | None:
        facts = [row for row in self._facts.values() if row is not None]
        if len(facts) < len(self._facts):
            return None
        return ShardCertificate.of(self._pair.name, facts, self._quarantined_found)

    def differ(self, kind: DifferenceKind, key: str, message: str) -> None:
        """Note a difference."""
        self._differences.append(Difference(kind, self._pair.name, key, message))


def _rows(uri: str) -> Iterator[InputRow]:
    return input_rows(uri, errors=(DataError, StorageError))  # a file that is gone does not hide the others


def _bytes_of(row: Sample | QuarantinedRow) -> tuple[bytes | None, bytes | None]:
    return row.image, row.label


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _short(data: bytes | None) -> str:
    digest = _sha256(data)
    return "none" if digest is None else digest[:12]
