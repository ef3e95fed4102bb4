"""What a worker of a training reads of the packed datasets."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from dakpn.config import TrainConfig
from dakpn.config.base import Size
from dakpn.data import manifest
from dakpn.data.datasets import LabelSpace
from dakpn.data.schema import Sample
from dakpn.data.shards import read_shard
from dakpn.data.stream import StreamOrder, stream_samples
from dakpn.data.training_samples import Prepare, labelled_example
from dakpn.training.batches import batched, collate
from dakpn.training.loop import Batch
from workflows.ingest import ray_shard_reader

_PAIRS_DRAWN = 4
_LABELS_FOR_CLASS_WEIGHTS = 200


class TrainingData:
    """The datasets as one worker sees them.

    Args:
        config: of the run.
        rank, world_size: of the worker.
    """

    def __init__(self, config: TrainConfig, rank: int, world_size: int) -> None:
        self.config = config
        self.rank, self.world_size = rank, world_size

    def batches(
        self, dataset: str, prepare: Prepare, batch_size: int, start_step: int, *, labelled: bool
    ) -> Iterator[Batch]:
        """Endless batches of this worker's part of a dataset, from those of `start_step` on."""
        stream, seed = self.config.stream, self.config.seed
        order = StreamOrder(manifest.read_index(dataset), seed, self.rank, self.world_size, stream.shuffle_shards)
        read = ray_shard_reader(dataset, labelled=labelled, prefetch_batches=stream.prefetch_batches)
        samples = stream_samples(order, read, start_step * batch_size)
        return batched(samples, prepare, batch_size, seed, self.rank, self.world_size, start_step)

    def some_samples(self, dataset: str, most: int, *, labelled: bool) -> Iterator[Sample]:
        """The first of the shuffled samples, `most` or all that there are: the same on every rank."""
        order = StreamOrder(manifest.read_index(dataset), self.config.seed, shuffle_shards=1)
        read = ray_shard_reader(dataset, labelled=labelled, prefetch_batches=1)
        return islice(stream_samples(order, read), min(most, order.index.rows))

    def pixel_counts(self, label_space: LabelSpace, size: Size) -> np.ndarray:
        """Pixels of each class in some labels of the synthetic dataset: the same on every rank."""
        prepare, rng = labelled_example(label_space, size), np.random.default_rng(0)
        counts = np.zeros(256, dtype=np.int64)
        for sample in self.some_samples(self.config.synthetic, _LABELS_FOR_CLASS_WEIGHTS, labelled=True):
            counts += np.bincount(prepare(sample, rng)["label"].ravel(), minlength=256)
        return counts[: label_space.num_classes]

    def first_pairs(self, synthetic: Prepare, real: Prepare) -> Iterator[Batch]:
        """One batch: the first rows of both datasets."""
        examples = []
        for dataset, prepare in ((self.config.synthetic, synthetic), (self.config.real, real)):
            index = manifest.read_index(dataset)
            first = next(shard for shard in index.shards if shard.rows)
            rows = islice(read_shard(manifest.shard_uri(dataset, first.name, index.format)), _PAIRS_DRAWN)
            examples.append([prepare(sample, np.random.default_rng(n)) for n, sample in enumerate(rows)])
        pairs = [{**ours, **theirs} for ours, theirs in zip(*examples, strict=False)]
        yield collate(pairs)
