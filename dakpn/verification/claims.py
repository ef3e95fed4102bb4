"""What a translated dataset says of itself, compared with what was computed again: every lie is named.

Reference for labels and sizes is the input: a row that differs in the output has been named with its shard, and makes
no lie of a certificate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dakpn import storage
from dakpn.config import TranslateConfig
from dakpn.config_file import parse_config
from dakpn.datasets import manifest
from dakpn.datasets.certificate import (
    Certificate,
    DatasetTotals,
    ShardCertificate,
    certificate_uri,
    code_digest,
    read_certificate,
    settings_digest,
)
from dakpn.datasets.formats import FORMATS
from dakpn.datasets.manifest import DatasetIndex
from dakpn.errors import ConfigError, DataError, StorageError
from dakpn.models.weights_facts import PredictorFacts
from dakpn.verification.report import Difference, DifferenceKind, ShardFindings


@dataclass(frozen=True)
class RunRecord:
    """What `_dakpn/run.json` says.

    Attributes:
        weights: Digest; None where nothing is said.
        config: Settings of the translation; None where they are missing or damaged.
    """

    weights: str | None
    config: TranslateConfig | None


@dataclass(frozen=True)
class Claims:
    """All that an output says of itself but in its index; what is damaged is None, and a difference."""

    output: str
    run: RunRecord
    certificate: Certificate | None
    differences: tuple[Difference, ...]

    @classmethod
    def read(cls, output: str) -> "Claims":
        """Read the claims of a dataset. Raises `StorageError`."""
        differences: list[Difference] = []
        certificate = None
        try:
            certificate = read_certificate(output)
        except DataError as error:
            differences.append(Difference("certificate", "", "", str(error)))
        run = RunRecord(None, None)
        try:
            run = _read_run(output)
        except (DataError, ConfigError) as error:
            differences.append(Difference("run_record", "", "", str(error)))
        return cls(output, run, certificate, tuple(differences))

    def lies(
        self, source: DatasetIndex, findings: Sequence[ShardFindings], weights: PredictorFacts | None
    ) -> Iterator[Difference]:
        """Yield what is not so.

        Args:
            source: Index of the input.
            findings: Findings of the shards that are in both datasets.
            weights: Those that the dataset is said to be made with; None where they are not at hand.
        """
        run_uri = _run_uri(self.output)
        if weights is not None and self.run.weights is not None:
            yield from _lie("run_record", run_uri, "weights", self.run.weights, weights.digest)
        if self.certificate is None:
            return
        uri = certificate_uri(self.output)
        for place, claimed, found in self._statements(self.certificate, source, weights):
            yield from _lie("certificate", uri, place, claimed, found)
        yield from _shard_lies(self.certificate, source, findings, uri)

    def notes(self) -> list[str]:
        """Return sentences on what could not be compared."""
        if self.certificate is None:
            return ["there is no certificate to compare with"] if not self.differences else []
        if self.certificate.code != code_digest():
            return ["another version of the code made the dataset than the one that verifies it"]
        return []

    def _statements(
        self, certificate: Certificate, source: DatasetIndex, weights: PredictorFacts | None
    ) -> Iterator[tuple[str, Any, Any]]:
        """Yield what is claimed of the dataset as a whole: its name, the claim and what is so."""
        for name, found in DatasetTotals.of(certificate.shards)._asdict().items():
            yield name, getattr(certificate, name), found
        yield "config", certificate.config, settings_digest(certificate.settings)
        yield "input", certificate.input, source.digest
        if self.run.config is not None:
            recorded = self.run.config.model_dump(mode="json")
            for name, claimed in certificate.settings.items():
                yield f"settings.{name}", claimed, recorded.get(name)
        if weights is not None:
            yield "weights", certificate.weights, weights.digest
            yield "radius", certificate.radius, weights.radius
            yield "params", certificate.params, weights.params
        elif self.run.weights is not None:
            yield "weights", certificate.weights, self.run.weights


def index_differences(source: DatasetIndex, result: DatasetIndex, output: str) -> Iterator[Difference]:
    """Yield in what the index of the output differs from the input's, and from the shards that are there.

    Raises:
        StorageError: The output cannot be listed.
    """
    expected, listed = {shard.name for shard in source.shards}, {shard.name for shard in result.shards}
    for name in sorted(expected - listed):
        yield Difference("missing_shard", name, "", f"{output}: shard {name} is missing")
    for name in sorted(listed - expected):
        message = f"{output}: shard {name} has no counterpart in the input"
        yield Difference("extra_shard", name, "", message)
    for other, shard_format in FORMATS.items():
        for name in shard_format.names(output):
            if other != result.format or name not in listed | expected:
                message = f"{output}: {name}{shard_format.suffix} is not in the index, and other readers would read it"
                yield Difference("extra_shard", name, "", message)
    for what in ("labelled", "label_space"):
        claimed, found = getattr(result, what), getattr(source, what)
        if claimed != found:
            message = f"{output}: the {what} of the index differs from the input's: {claimed}, expected {found}"
            yield Difference("index", "", "", message)


def _shard_lies(
    certificate: Certificate, source: DatasetIndex, findings: Sequence[ShardFindings], uri: str
) -> Iterator[Difference]:
    names = [shard.name for shard in source.shards]
    claimed_names = [shard.name for shard in certificate.shards]
    if claimed_names != names:
        yield from _lie("certificate", uri, "shards", _listed(claimed_names), _listed(names))
    claims: Mapping[str, ShardCertificate] = {shard.name: shard for shard in certificate.shards}
    for found in findings:
        claim = claims.get(found.name)
        if claim is None or found.certificate is None:
            continue
        for field, value in found.certificate:
            for lie in _lie("certificate", uri, f"{found.name}.{field}", getattr(claim, field), value):
                yield lie._replace(shard=found.name)


def _lie(kind: DifferenceKind, uri: str, place: str, claimed: Any, found: Any) -> Iterator[Difference]:
    if claimed != found:
        yield Difference(kind, "", "", f"{uri}: {place} is {claimed}, expected {found}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"[{shown}, and {len(names) - 5} more]" if len(names) > 5 else f"[{shown}]"


def _read_run(output: str) -> RunRecord:
    uri = _run_uri(output)
    try:
        values = storage.read_json(uri)
    except StorageError as error:
        raise DataError(f"{uri} cannot be read ({error}); expected how the dataset was made") from error
    if not isinstance(values, dict) or not isinstance(values.get("weights"), str | None):
        raise DataError(f"{uri} is damaged; expected the weights and config of a translation")
    config = values.get("config")
    if values.get("command") != "translate" or not isinstance(config, str):
        return RunRecord(values.get("weights"), None)
    return RunRecord(values.get("weights"), parse_config(TranslateConfig, config, origin=uri))


def _run_uri(output: str) -> str:
    return storage.join(output, manifest.FOLDER, "run.json")
