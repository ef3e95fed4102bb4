"""Translate one shard of a dataset: the unit of work of the translation job. Knows nothing of its engine.

Order of writes: the output shard, its row manifest, its completion marker. The names and bytes are pure functions of
the input shard, the weights and the config, so a retry or a second job writes the same again.
"""

import hashlib
import json
from collections.abc import Iterator

from dakpn.config import TranslateConfig
from dakpn.data import codec, manifest, storage
from dakpn.data.manifest import RowRecord, ShardMarker
from dakpn.data.schema import Sample
from dakpn.data.shards import encode_shard, read_shard
from dakpn.errors import DataError
from dakpn.inference.translator import Translator


def shard_fingerprint(config: TranslateConfig, weights_digest: str, name: str) -> str:
    """Digest of all that the bytes of an output shard depend on: input shard, weights, settings, format."""
    inputs = {
        "format": manifest.FORMAT_VERSION,
        "shard": name,
        "input": storage.fingerprint(manifest.shard_uri(config.input, name)),
        "weights": weights_digest,
        "settings": config.model_dump(include={"strength", "draw", "jpeg_quality"}),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def finished_marker(config: TranslateConfig, fingerprint: str, name: str) -> ShardMarker | None:
    """The completion marker of an output shard, if it was made from this very input."""
    marker = manifest.read_marker(config.output, name)
    if marker is None or marker.fingerprint != fingerprint:
        return None
    return marker if storage.exists(manifest.shard_uri(config.output, name)) else None


def translate_shard(translator: Translator, config: TranslateConfig, name: str) -> ShardMarker:
    """Translate and write one shard.

    Raises:
        DataError: a row that cannot be decoded.
        StorageError: input unreadable or output not writable.
    """
    fingerprint = shard_fingerprint(config, translator.weights_digest, name)
    records: list[RowRecord] = []
    samples = _translated(translator, config, name, records)
    data = encode_shard(samples)
    marker = ShardMarker(
        name=name,
        fingerprint=fingerprint,
        rows=len(records),
        quarantined=0,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
    )
    storage.write_bytes(manifest.shard_uri(config.output, name), data)
    manifest.write_rows(config.output, name, records)
    manifest.write_marker(config.output, marker)
    return marker


def _translated(
    translator: Translator, config: TranslateConfig, name: str, records: list[RowRecord]
) -> Iterator[Sample]:
    uri = manifest.shard_uri(config.input, name)
    for sample in read_shard(uri):
        origin = f"{uri}: {sample.image_path}"
        image = codec.decode_image(sample.image, origin)
        translated = translator.translate(image, sample.key)
        encoded = codec.encode_image(translated, codec.image_format(sample.image, origin), config.jpeg_quality)
        if sample.label is not None and codec.image_size(sample.label, origin) != image.shape[:2]:
            raise DataError(f"{origin}: label and image differ in size; expected equal sizes: pack it again")
        records.append(_record(sample, uri, encoded, image.shape[:2]))
        yield Sample(sample.key, encoded, sample.image_path, sample.label, sample.label_path)


def _record(sample: Sample, uri: str, encoded: bytes, size: tuple[int, ...]) -> RowRecord:
    return RowRecord(
        key=sample.key,
        source=uri,
        source_sha256=hashlib.sha256(sample.image).hexdigest(),
        image_sha256=hashlib.sha256(encoded).hexdigest(),
        label_sha256=None if sample.label is None else hashlib.sha256(sample.label).hexdigest(),
        height=size[0],
        width=size[1],
        status="done",
        reason=None,
    )
