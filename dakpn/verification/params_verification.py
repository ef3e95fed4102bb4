"""Verify a shard of stored params against the input: keys, order, and that each row is of the bytes that are there."""

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from dakpn.datasets.manifest import DatasetIndex
from dakpn.datasets.quarantine import QuarantinedRow
from dakpn.datasets.schema import Sample
from dakpn.errors import DakpnError
from dakpn.models.weights_files import weights_digest
from dakpn.translation.params_dataset import read_params_record, weights_uri
from dakpn.translation.shard_rows import InputRow
from dakpn.translation.stored_params import ParamsRow, read_params_shard
from dakpn.verification.report import Difference, ShardFindings
from dakpn.verification.verification import Facts, ShardComparison, ShardPair


class ParamsCheck(Protocol):
    """Compares stored params with what they should be; see `Recomputation`."""

    def picked(self, shard: str, rows: int) -> Container[int]:
        """Return the positions, from 0, of the rows to be compared."""
        ...

    def params_difference(self, before: Sample, row: ParamsRow, source: str, result: str) -> str | None:
        """Return a sentence on how stored params differ; None if they do not."""
        ...


def compare_params(
    pair: ShardPair, quarantined: Iterable[QuarantinedRow] = (), check: ParamsCheck | None = None
) -> ShardFindings:
    """Compare a shard of params with its input and name every difference.

    Checked: every key once and in the input's order, but for those in the quarantine; the digests of image and label,
    the image's size, the position in the input.

    Args:
        pair: The shards.
        quarantined: Rows of the input that are in the quarantine instead of the output.
        check: Computes some params again; None computes none.
    """
    return _ParamsComparison(pair, quarantined, check).run()


def params_claims(output: str, source: DatasetIndex, weights: str | None) -> Iterator[Difference]:
    """Yield what is not so of what a dataset of params says of its input and of the weights beside it.

    Args:
        output: URI of the dataset.
        source: Index of the input.
        weights: Digest in the run record; None where nothing is said.
    """
    try:
        record = read_params_record(output)
        copied = weights_digest(weights_uri(output))
    except DakpnError as error:
        yield Difference("run_record", "", "", str(error))
        return
    statements = [("input", record.input_digest, source.digest), ("copy of the weights", copied, record.weights)]
    if weights is not None:
        statements.append(("weights", record.weights, weights))
    for name, claimed, expected in statements:
        if claimed != expected:
            message = f"{output}: the {name} of the params is {claimed}, expected {expected}"
            yield Difference("run_record", "", "", message)


@dataclass(frozen=True, slots=True)
class _StoredRow:
    key: str
    params: ParamsRow
    error: str | None = None


class _ParamsComparison(ShardComparison):
    def __init__(self, pair: ShardPair, quarantined: Iterable[QuarantinedRow], check: ParamsCheck | None) -> None:
        super().__init__(pair, quarantined, decode=False, images=None)
        self._check = check
        self._recomputed = check.picked(pair.name, pair.source_rows) if check else ()

    def output_rows(self, uri: str) -> Iterator[_StoredRow]:
        for row in read_params_shard(uri):
            yield _StoredRow(row.key, row)

    def compare(self, before: InputRow, after: _StoredRow, facts: Facts | None) -> None:
        if before.sample is None or facts is None:
            return
        row, uri = after.params, self._result.uri
        for name, found, expected in (
            ("image", row.source_sha256, hashlib.sha256(before.sample.image).hexdigest()),
            ("label", row.label_sha256, facts.label_sha256),
            ("size", (row.height, row.width), (facts.height, facts.width)),
            ("position", row.position, before.position),
        ):
            if found != expected:
                self.differ("source", row.key, f"{uri}: {row.key} is of the {name} {found}, expected {expected}")
        if self._check is not None and before.position in self._recomputed:
            self._retranslated += 1
            if sentence := self._check.params_difference(before.sample, row, self._source.uri, uri):
                self.differ("params", row.key, sentence)
