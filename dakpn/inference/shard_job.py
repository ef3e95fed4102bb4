"""Translate one shard of a dataset: the unit of work of the translation job. Knows nothing of its engine.

Order of writes: the output shard, its row manifest, its completion marker. The names and bytes are pure functions of
the input shard, the weights and the config, so a retry or a second job writes the same again.
"""

import hashlib
import json
from collections.abc import Iterator

from dakpn.config import TranslateConfig
from dakpn.data import codec, manifest, storage
from dakpn.data.formats import FormatName
from dakpn.data.manifest import RowRecord, ShardMarker
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard, write_shard
from dakpn.errors import DataError
from dakpn.inference.translator import Translator


def shard_fingerprint(config: TranslateConfig, weights_digest: str, name: str, shard_format: FormatName) -> str:
    """Digest of all that the bytes of an output shard depend on: input shard, weights, settings, format."""
    inputs = {
        "format": manifest.FORMAT_VERSION,
        "shard": name,
        "input": storage.fingerprint(manifest.shard_uri(config.input, name, shard_format)),
        "weights": weights_digest,
        "settings": config.model_dump(include={"strength", "refinement", "style", "draw", "jpeg_quality"}),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def finished_marker(
    config: TranslateConfig, fingerprint: str, name: str, shard_format: FormatName
) -> ShardMarker | None:
    """The completion marker of an output shard, if it was made from this very input."""
    marker = manifest.read_marker(config.output, name)
    if marker is None or marker.fingerprint != fingerprint:
        return None
    return marker if storage.exists(manifest.shard_uri(config.output, name, shard_format)) else None


def translate_shard(
    translator: Translator, config: TranslateConfig, name: str, shard_format: FormatName
) -> ShardMarker:
    """Translate and write one shard, in the format of the input.

    Raises:
        DataError: a row that cannot be decoded.
        StorageError: input unreadable or output not writable.
    """
    fingerprint = shard_fingerprint(config, translator.weights_digest, name, shard_format)
    records: list[RowRecord] = []
    source = manifest.shard_uri(config.input, name, shard_format)
    samples = _translated(translator, config, source, records)
    written = write_shard(manifest.shard_uri(config.output, name, shard_format), samples)
    marker = ShardMarker(
        name=name,
        fingerprint=fingerprint,
        rows=len(records),
        quarantined=0,
        sha256=written.sha256,
        bytes=written.bytes,
    )
    manifest.write_rows(config.output, name, records)
    manifest.write_marker(config.output, marker)
    return marker


def translate_sample(
    translator: Translator, config: TranslateConfig, sample: Sample, uri: str
) -> tuple[Sample, RowRecord]:
    """Translate one encoded sample of the shard `uri`; its label keeps its bytes.

    Raises:
        DataError: the image or label cannot be decoded, or they differ in size.
    """
    origin = f"{uri}: {sample.image_path}"
    image = codec.decode_image(sample.image, origin)
    height, width = image.shape[:2]
    if sample.label is not None and codec.image_size(sample.label, origin) != (height, width):
        raise DataError(f"{origin}: label and image differ in size; expected equal sizes: pack it again")
    translated = translator.translate(image, sample.key)
    encoded = codec.encode_image(translated, codec.image_format(sample.image, origin), config.jpeg_quality)
    record = RowRecord(
        key=sample.key,
        source=uri,
        source_sha256=_sha256(sample.image),
        image_sha256=_sha256(encoded),
        label_sha256=None if sample.label is None else _sha256(sample.label),
        height=height,
        width=width,
        status="done",
        reason=None,
    )
    return Sample(sample.key, encoded, sample.image_path, sample.label, sample.label_path), record


def _translated(
    translator: Translator, config: TranslateConfig, uri: str, records: list[RowRecord]
) -> Iterator[Sample]:
    for sample in read_shard(uri):
        translated, record = translate_sample(translator, config, sample, uri)
        records.append(record)
        yield translated


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
