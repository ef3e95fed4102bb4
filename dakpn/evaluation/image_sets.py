"""Images by key, from a packed dataset or from a plain folder: real references, and what others have translated."""

import hashlib
import logging
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.datasets.shards import read_shard
from dakpn.images import codec
from dakpn.segmentation.examples import LabelledExamples, StreamedExamples, load_examples, stream_examples
from dakpn.sources.preset import load_preset
from dakpn.sources.source_path import read_file, source_path

logger = logging.getLogger(__name__)

Size = tuple[int, int]
Examples = LabelledExamples | StreamedExamples
_BYTES_OF_PIXEL = 4
_KEPT = 4
"""Datasets kept in memory; at the sizes of evaluations one takes some dozens of megabytes."""


def read_examples(uri: str, size: Size, gigabytes: float = math.inf) -> Examples:
    """A packed, labelled dataset: in memory, or read as it is used if it takes more than so much.

    This process reads the same one once. Raises like `load_examples`.
    """
    if exceeds(uri, size, gigabytes):
        return _streamed(uri, size, content_digest(uri))
    return _examples(uri, size, content_digest(uri))


def exceeds(uri: str, size: Size, gigabytes: float) -> bool:
    """Whether a packed dataset's images and labels take more than so much at this size."""
    return manifest.read_index(uri).rows * size[0] * size[1] * _BYTES_OF_PIXEL > gigabytes * 1e9


def read_images(uri: str, size: Size, gigabytes: float = math.inf) -> dict[str, NDArray[np.uint8]]:
    """Images of a packed dataset, or of the image files below a local folder, by key and resized.

    Of a packed dataset that takes more than so much, as many as fit, spread over it. This process reads the same ones
    once.

    Raises:
        UsageError: neither is there.
        DataError: an image cannot be decoded.
    """
    digest = content_digest(uri)
    if is_packed(uri) and exceeds(uri, size, gigabytes):
        rows, most = manifest.read_index(uri).rows, max(1.0, gigabytes * 1e9 / (size[0] * size[1] * _BYTES_OF_PIXEL))
        logger.warning(
            "%s has %d images, more than memory_gigabytes=%g holds: %d of them are used, spread over it",
            uri, rows, gigabytes, int(most),
        )  # fmt: skip
        return _some_images(uri, size, digest, int(most))
    return _images(uri, size, digest)


@lru_cache(maxsize=_KEPT)
def _examples(uri: str, size: Size, digest: str) -> LabelledExamples:
    return load_examples(uri, size)


@lru_cache(maxsize=_KEPT)
def _streamed(uri: str, size: Size, digest: str) -> StreamedExamples:
    return stream_examples(uri, size)


@lru_cache(maxsize=_KEPT)
def _some_images(uri: str, size: Size, digest: str, count: int) -> dict[str, NDArray[np.uint8]]:
    dataset = SegmentationDataset(uri, size=size)
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    items = (dataset[int(i)] for i in chosen)
    return {item["key"]: np.ascontiguousarray(item["image"].transpose(1, 2, 0)) for item in items}


@lru_cache(maxsize=_KEPT)
def _images(uri: str, size: Size, digest: str) -> dict[str, NDArray[np.uint8]]:
    if is_packed(uri):
        index = manifest.read_index(uri)
        shards = (read_shard(manifest.shard_uri(uri, shard.name, index.format)) for shard in index.shards)
        decoded = ((s.key, codec.decode_image(s.image, f"{uri}: {s.key}")) for samples in shards for s in samples)
    else:
        pairs = load_preset("images").find_pairs(source_path(uri), None)
        decoded = ((p.key, codec.decode_image(read_file(p.image_path), str(p.image_path))) for p in pairs)
    return {key: image if image.shape[:2] == size else codec.resize_image(image, size) for key, image in decoded}


def is_packed(uri: str) -> bool:
    """Tell a packed dataset from a folder of images."""
    return storage.exists(storage.join(uri, manifest.FOLDER))


def content_digest(uri: str) -> str:
    """Digest of a packed dataset's content, or of the names and versions of a folder's files.

    Raises:
        UsageError: neither is there.
    """
    return manifest.read_index(uri).digest if is_packed(uri) else _folder_digest(uri)


def _folder_digest(folder: str) -> str:
    pairs = load_preset("images").find_pairs(source_path(folder), None)
    lines = [f"{pair.key} {storage.fingerprint(str(pair.image_path))}" for pair in pairs]
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
