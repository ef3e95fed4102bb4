"""A labelled dataset held in memory at training resolution: how evaluation reads its data."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.datasets import manifest
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.datasets.shards import read_shard
from dakpn.datasets.training_decode import labelled_decoder
from dakpn.errors import UsageError
from dakpn.training.data import SegmentationBatch
from dakpn.training.loop import step_seed

_COUNTED_EXAMPLES = 200


class BatchSource(Protocol):
    """Where the training of a segmenter takes its batches from."""

    @property
    def label_space(self) -> LabelSpace:
        """The classes."""
        ...

    def pixel_counts(self) -> NDArray[np.int64]:
        """Pixels of each class [C] in what the batches are drawn from."""
        ...

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """Endless batches of bytes from batch `start` on, each a function of the seed and its number.

        `to` brings them to a device, and makes them ready to be used.
        """
        ...


@dataclass(frozen=True)
class LabelledExamples:
    """Resized images and their train ids; a `BatchSource`.

    Attributes:
        keys: Keys of the N images.
        images: uint8 [N, 3, h, w].
        labels: uint8 [N, h, w].
        label_space: Classes of the dataset.
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

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """Endless batches drawn with replacement; batch k is a function of (seed, k)."""
        return map(self._batch, drawn_positions(len(self.images), batch_size, seed, start))

    def example(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One image [3, h, w] and its train ids [h, w]."""
        return self.images[index], self.labels[index]

    def held(self) -> "LabelledExamples":
        """Return the examples themselves: they are in memory."""
        return self

    def ordered_batches(self, batch_size: int) -> Iterator[SegmentationBatch]:
        """Every example once, in order."""
        for start in range(0, len(self.images), batch_size):
            yield self._batch(np.arange(start, min(start + batch_size, len(self.images))))

    def pixel_counts(self) -> NDArray[np.int64]:
        """Pixels of each class [C]."""
        return np.bincount(self.labels.ravel(), minlength=256)[: self.label_space.num_classes]

    def _batch(self, chosen: NDArray[np.integer]) -> SegmentationBatch:
        return batch_of_bytes(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class StreamedExamples:
    """Labelled images that are read from their dataset's shards whenever they are drawn; a `BatchSource`.

    Its batches are those of `LabelledExamples` of the same dataset.

    Attributes:
        dataset: resizes, and keeps what it has read in bounds.
        positions: Positions of the N examples in the dataset.
        keys: theirs.
        label_space: Classes of the dataset.
    """

    dataset: SegmentationDataset
    positions: tuple[int, ...]
    keys: tuple[str, ...]
    label_space: LabelSpace

    def subset(self, chosen: Sequence[int]) -> "StreamedExamples":
        """The examples at these positions, in this order."""
        positions, keys = (tuple(all_[i] for i in chosen) for all_ in (self.positions, self.keys))
        return replace(self, positions=positions, keys=keys)

    def example(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One image [3, h, w] and its train ids [h, w]. Raises `DataError` if it cannot be decoded."""
        item = self.dataset[self.positions[index]]
        return item["image"], item["label"]

    def held(self) -> LabelledExamples:
        """Read the examples into memory."""
        images, labels = map(np.stack, zip(*map(self.example, range(len(self.keys))), strict=True))
        return LabelledExamples(self.keys, images, labels, self.label_space)

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """See `BatchSource`."""
        return map(self._batch, drawn_positions(len(self.keys), batch_size, seed, start))

    def ordered_batches(self, batch_size: int) -> Iterator[SegmentationBatch]:
        """Every example once, in order."""
        for start in range(0, len(self.keys), batch_size):
            yield self._batch(np.arange(start, min(start + batch_size, len(self.keys))))

    def pixel_counts(self) -> NDArray[np.int64]:
        """Pixels of each class [C], in at most 200 examples spread over all."""
        chosen = np.unique(np.linspace(0, len(self.keys) - 1, _COUNTED_EXAMPLES).round().astype(int))
        counts = sum(np.bincount(self.example(int(i))[1].ravel(), minlength=256) for i in chosen)
        return np.asarray(counts)[: self.label_space.num_classes]

    def _batch(self, chosen: NDArray[np.integer]) -> SegmentationBatch:
        return batch_of_bytes(*map(np.stack, zip(*(self.example(int(i)) for i in chosen), strict=True)))


@dataclass(frozen=True)
class ResidentExamples:
    """A `BatchSource` whose images lie on a device; its batches are those of the same examples in memory.

    Attributes:
        images: uint8 [N, 3, h, w] on the device.
        labels: uint8 [N, h, w] there.
        examples: the same in memory.
    """

    images: Tensor
    labels: Tensor
    examples: LabelledExamples

    @property
    def label_space(self) -> LabelSpace:
        """See `BatchSource`."""
        return self.examples.label_space

    def pixel_counts(self) -> NDArray[np.int64]:
        """See `BatchSource`."""
        return self.examples.pixel_counts()

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """See `BatchSource`."""
        for chosen in drawn_positions(len(self.images), batch_size, seed, start):
            rows = torch.from_numpy(chosen).to(self.images.device)
            yield SegmentationBatch(self.images[rows], self.labels[rows])


def resident(source: BatchSource, device: torch.device, gigabytes: float) -> BatchSource:
    """The examples with their images on the device, if they take at most so much and half of what is free there."""
    if device.type == "cpu" or not isinstance(source, LabelledExamples):
        return source
    needed, most = source.images.nbytes + source.labels.nbytes, gigabytes * 1e9
    if device.type == "cuda":
        most = min(most, torch.cuda.mem_get_info(device)[0] / 2)
    if needed > most:
        return source
    images, labels = (torch.from_numpy(held).to(device) for held in (source.images, source.labels))
    return ResidentExamples(images, labels, source)


def drawn_positions(count: int, batch_size: int, seed: int, start: int) -> Iterator[NDArray[np.int64]]:
    """Positions of the examples of each batch from `start` on, drawn with replacement from so many."""
    for step in itertools.count(start):
        yield np.random.default_rng(step_seed(seed, 0, step)).integers(0, count, batch_size)


def batch_of_bytes(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> SegmentationBatch:
    """The batch of images uint8 [B, 3, h, w] and train ids uint8 [B, h, w]."""
    return SegmentationBatch(torch.from_numpy(images), torch.from_numpy(labels))


def stream_examples(dataset_uri: str, size: tuple[int, int]) -> StreamedExamples:
    """A packed, labelled dataset that is not held in memory. Raises `UsageError` as `load_examples`."""
    label_space, index = labelled_index(dataset_uri)
    uris = [manifest.shard_uri(dataset_uri, shard.name, index.format) for shard in index.shards]
    keys = tuple(sample.key for uri in uris for sample in read_shard(uri))
    dataset = SegmentationDataset(dataset_uri, size=size)
    return StreamedExamples(dataset, tuple(range(len(keys))), keys, label_space)


def load_examples(dataset_uri: str, size: tuple[int, int]) -> LabelledExamples:
    """Read a packed, labelled dataset whole.

    Raises:
        UsageError: the dataset is missing, unfinished or has no labels.
        DataError: a sample cannot be decoded.
    """
    label_space, index = labelled_index(dataset_uri)
    prepare = labelled_decoder(label_space, size)
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
