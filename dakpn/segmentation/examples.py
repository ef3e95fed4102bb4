"""A labelled dataset held in memory at training resolution: how evaluation reads its data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn.datasets import manifest
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.shards import read_shard
from dakpn.datasets.training_samples import labelled_example
from dakpn.errors import UsageError
from dakpn.training.data import SegmentationBatch
from dakpn.training.loop import step_seed


class BatchSource(Protocol):
    """Where the training of a segmenter takes its batches from."""

    @property
    def label_space(self) -> LabelSpace:
        """The classes."""
        ...

    def pixel_counts(self) -> NDArray[np.int64]:
        """Pixels of each class [C] in what the batches are drawn from."""
        ...

    def random_batches(self, batch_size: int, seed: int) -> Iterator[SegmentationBatch]:
        """Endless batches, on the CPU and ready to be used; a function of the seed."""
        ...


@dataclass(frozen=True)
class LabelledExamples:
    """Resized images and their train ids; a `BatchSource`.

    Attributes:
        keys: of the N images.
        images: uint8 [N, 3, h, w].
        labels: uint8 [N, h, w].
        label_space: of the dataset.
    """

    keys: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    label_space: LabelSpace

    def subset(self, chosen: Sequence[int]) -> "LabelledExamples":
        """The examples at these positions, in this order."""
        rows = np.asarray(chosen, dtype=np.intp)
        return LabelledExamples(
            tuple(self.keys[i] for i in rows), self.images[rows], self.labels[rows], self.label_space
        )

    def random_batches(self, batch_size: int, seed: int) -> Iterator[SegmentationBatch]:
        """Endless batches drawn with replacement; batch k is a function of (seed, k)."""
        step = 0
        while True:
            chosen = np.random.default_rng(step_seed(seed, 0, step)).integers(0, len(self.images), batch_size)
            yield self._batch(chosen)
            step += 1

    def ordered_batches(self, batch_size: int) -> Iterator[SegmentationBatch]:
        """Every example once, in order."""
        for start in range(0, len(self.images), batch_size):
            yield self._batch(np.arange(start, min(start + batch_size, len(self.images))))

    def pixel_counts(self) -> NDArray[np.int64]:
        """Pixels of each class [C]."""
        return np.bincount(self.labels.ravel(), minlength=256)[: self.label_space.num_classes]

    def _batch(self, chosen: NDArray[np.integer]) -> SegmentationBatch:
        return ready_batch(self.images[chosen], self.labels[chosen])


def ready_batch(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> SegmentationBatch:
    """The batch, on the CPU and ready to be used, of images uint8 [B, 3, h, w] and train ids uint8 [B, h, w]."""
    return SegmentationBatch(torch.from_numpy(images), torch.from_numpy(labels)).to(torch.device("cpu"))


def load_examples(dataset_uri: str, size: tuple[int, int]) -> LabelledExamples:
    """Read a packed, labelled dataset whole.

    Raises:
        UsageError: the dataset is missing, unfinished or has no labels.
        DataError: a sample cannot be decoded.
    """
    label_space, index = labelled_index(dataset_uri)
    prepare = labelled_example(label_space, size)
    unused_rng = np.random.default_rng(0)
    uris = [manifest.shard_uri(dataset_uri, shard.name, index.format) for shard in index.shards]
    keys, arrays = [], []
    for sample in (sample for uri in uris for sample in read_shard(uri)):
        keys.append(sample.key)
        arrays.append(prepare(sample, unused_rng))
    images, labels = (np.stack([a[name] for a in arrays]) for name in ("image", "label"))
    return LabelledExamples(tuple(keys), images, labels, label_space)


def labelled_index(dataset_uri: str) -> tuple[LabelSpace, manifest.DatasetIndex]:
    """The classes and index of a dataset that must have labels. Raises `UsageError`."""
    index = manifest.read_index(dataset_uri)
    if index.label_space is None or not index.labelled:
        raise UsageError(f"dataset {dataset_uri} has no labels; expected a labelled one: pack it with its labels")
    return LabelSpace.from_dict(index.label_space), index


def limit_threads(threads: int) -> None:
    """Use this many CPU threads for tensor work in this process."""
    torch.set_num_threads(threads)
