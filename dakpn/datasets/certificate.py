"""The certificate of a translated dataset: the job's statements about it, in digests that anyone can compute again.

It lies at OUT/_dakpn/certificate.json. The digests of a shard are over its rows in their order; those of the dataset
are over the digests of its shards in the index's order, so that neither a job nor its verification holds all rows.
Rows in the quarantine are counted, and are in no digest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

import dakpn
from dakpn import storage
from dakpn.datasets import manifest
from dakpn.errors import DataError

FORMAT_VERSION = 1
"""Version of the certificate's fields and of what its digests are over."""


class RowFacts(Protocol):
    """What the digests of a shard are over; a `RowRecord` has it, too."""

    @property
    def key(self) -> str:
        """Key of the row."""
        ...

    @property
    def label_sha256(self) -> str | None:
        """Digest of the encoded label, in hexadecimal; None without a label."""
        ...

    @property
    def height(self) -> int:
        """Size of the image in pixels."""
        ...

    @property
    def width(self) -> int:
        """Size of the image in pixels."""
        ...


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParamBounds(_Record):
    """The transform params by name, and the least and greatest value that each can have."""

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class ShardCertificate(_Record):
    """The job's statements about one shard.

    Attributes:
        name: Name of the shard.
        rows: Rows in the output's shard.
        quarantined: Rows of the input's shard that are in the quarantine instead.
        labels_sha256: Over keys and label digests of the rows, in order.
        sizes_sha256: Over keys, heights and widths of the rows' images, in order.
    """

    name: str
    rows: int
    quarantined: int
    labels_sha256: str
    sizes_sha256: str

    @classmethod
    def of(cls, name: str, rows: Iterable[RowFacts], quarantined: int = 0) -> Self:
        """Return the certificate of an output shard: of its rows in their order, none of them in the quarantine."""
        count = 0
        labels, sizes = hashlib.sha256(), hashlib.sha256()
        for row in rows:
            count += 1
            labels.update(_line(row.key, row.label_sha256))
            sizes.update(_line(row.key, row.height, row.width))
        return cls(
            name=name,
            rows=count,
            quarantined=quarantined,
            labels_sha256=labels.hexdigest(),
            sizes_sha256=sizes.hexdigest(),
        )


class Certificate(_Record):
    """The job's statements about a translated dataset.

    Attributes:
        format_version: Version of this record.
        rows: Rows in the output.
        quarantined: Rows of the input that are in the quarantine instead.
        labels_sha256: Over the shards' `labels_sha256`.
        sizes_sha256: Over the shards' `sizes_sha256`.
        radius: Radius of the translation function: pixels to each side that an output pixel depends on.
        params: Bounds of the transform params.
        weights: Digest of the predictor's weights, as `load_predictor` gives it.
        settings: What else the pixels depend on: strength, draw and so on.
        config: `settings_digest` of the settings.
        code: `code_digest` of the library that made the dataset.
        input: `DatasetIndex.digest` of the dataset that was translated.
        shards: The certificates of the shards, in the index's order.
    """

    format_version: int = FORMAT_VERSION
    rows: int
    quarantined: int
    labels_sha256: str
    sizes_sha256: str
    radius: int
    params: ParamBounds
    weights: str
    settings: dict[str, JsonValue]
    config: str
    code: str
    input: str
    shards: tuple[ShardCertificate, ...]

    @classmethod
    def of(
        cls,
        shards: Iterable[ShardCertificate],
        *,
        radius: int,
        params: ParamBounds,
        weights: str,
        settings: Mapping[str, Any],
        input_digest: str,
    ) -> Self:
        """Return the certificate of a dataset made of these shards by the code that runs."""
        shards = tuple(shards)
        totals = DatasetTotals.of(shards)
        return cls(
            **totals._asdict(),
            radius=radius,
            params=params,
            weights=weights,
            settings=dict(settings),
            config=settings_digest(settings),
            code=code_digest(),
            input=input_digest,
            shards=shards,
        )


class DatasetTotals(NamedTuple):
    """Sums and digests over the certificates of all shards."""

    rows: int
    quarantined: int
    labels_sha256: str
    sizes_sha256: str

    @classmethod
    def of(cls, shards: Iterable[ShardCertificate]) -> Self:
        """Return the totals of shards in the index's order."""
        rows = quarantined = 0
        labels, sizes = hashlib.sha256(), hashlib.sha256()
        for shard in shards:
            rows += shard.rows
            quarantined += shard.quarantined
            labels.update(_line(shard.name, shard.labels_sha256))
            sizes.update(_line(shard.name, shard.sizes_sha256))
        return cls(rows, quarantined, labels.hexdigest(), sizes.hexdigest())


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the digest of settings that JSON can hold; their order does not count."""
    return "sha256:" + hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


@cache
def code_digest() -> str:
    """Return the digest of the library's source files, by which two installations of one version can be told apart."""
    root = Path(dakpn.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(_line(path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()))
    return "sha256:" + digest.hexdigest()


def write_certificate(dataset_uri: str, certificate: Certificate) -> None:
    """Write the certificate of a dataset, before `_SUCCESS`. Raises `StorageError`."""
    storage.write_json(certificate_uri(dataset_uri), certificate.model_dump(mode="json"))


def read_certificate(dataset_uri: str) -> Certificate | None:
    """Return the certificate of a dataset; None if it has none.

    Raises:
        DataError: It is damaged, or of another version.
        StorageError: It cannot be read.
    """
    uri = certificate_uri(dataset_uri)
    if not storage.exists(uri):
        return None
    try:
        certificate = Certificate.model_validate(storage.read_json(uri))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise DataError(
            f"{uri} is damaged: {place}: {first['msg']}; expected a certificate: translate again"
        ) from error
    if certificate.format_version != FORMAT_VERSION:
        raise DataError(
            f"{uri} has version {certificate.format_version}, expected {FORMAT_VERSION}; use the dakpn that wrote it"
        )
    return certificate


def certificate_uri(dataset_uri: str) -> str:
    """Return where the certificate of a dataset lies."""
    return storage.join(dataset_uri, manifest.FOLDER, "certificate.json")


def _line(*values: Any) -> bytes:
    """Return what no other values give: as JSON, on a line of its own."""
    return json.dumps(values).encode() + b"\n"
