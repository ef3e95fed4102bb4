"""What a downstream net trains on: a contender's translations, few real images, and mixtures of the two."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn.datasets.label_space import LabelSpace
from dakpn.evaluation.contender import Contender, LabelledImage
from dakpn.evaluation.image_sets import Examples
from dakpn.images import codec
from dakpn.segmentation.examples import BatchSource, LabelledExamples, batch_of_bytes
from dakpn.training.data import SegmentationBatch
from dakpn.training.loop import step_seed

_DRAWS = 2**31


@dataclass(frozen=True)
class FreshTranslations:
    """A `BatchSource` whose images are translated as they are drawn, each time with a draw of its own.

    The images chosen for batch k are those that `LabelledExamples` would choose: contenders with equal seeds see the
    same scenes in the same order.

    Attributes:
        synthetic: at the size at which the contender translates.
        contender: what translates.
        size: height and width of the batches.
    """

    synthetic: Examples
    contender: Contender
    size: tuple[int, int]

    @property
    def label_space(self) -> LabelSpace:
        """See `BatchSource`."""
        return self.synthetic.label_space

    def pixel_counts(self) -> NDArray[np.int64]:
        """See `BatchSource`."""
        return self.synthetic.pixel_counts()

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """See `BatchSource`."""
        for step in itertools.count(start):
            rng = np.random.default_rng(step_seed(seed, 0, step))
            chosen = rng.integers(0, len(self.synthetic.keys), batch_size)
            draws = rng.integers(0, _DRAWS, batch_size)
            pairs = [self._example(int(i), int(draw)) for i, draw in zip(chosen, draws, strict=True)]
            yield batch_of_bytes(*map(np.stack, zip(*pairs, strict=True)))

    def _example(self, index: int, draw: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        sample = labelled_image(self.synthetic, index)
        return _at_size(self.contender.translate(sample, draw), sample.label, self.size)


def translated_once(synthetic: LabelledExamples, contender: Contender, size: tuple[int, int]) -> LabelledExamples:
    """Every synthetic image translated with draw 0: enough for a contender without draws."""
    pairs = [
        _at_size(contender.translate(labelled_image(synthetic, i), 0), synthetic.labels[i], size)
        for i in range(len(synthetic.images))
    ]
    images, labels = map(np.stack, zip(*pairs, strict=True))
    return LabelledExamples(synthetic.keys, images, labels, synthetic.label_space)


def labelled_image(examples: Examples, index: int) -> LabelledImage:
    """One example as a contender takes it."""
    image, label = examples.example(index)
    return LabelledImage(examples.keys[index], np.ascontiguousarray(image.transpose(1, 2, 0)), label)


@dataclass(frozen=True)
class _SyntheticAndReal:
    """What both `BatchSource`s of synthetic and real images share."""

    synthetic: BatchSource
    real: Examples

    @property
    def label_space(self) -> LabelSpace:
        """See `BatchSource`."""
        return self.synthetic.label_space

    def pixel_counts(self) -> NDArray[np.int64]:
        """See `BatchSource`."""
        return self.synthetic.pixel_counts() + self.real.pixel_counts()


@dataclass(frozen=True)
class Mixed(_SyntheticAndReal):
    """A `BatchSource` with a fixed share of real images in every batch.

    Attributes:
        synthetic, real: what to mix; their images have the same size.
        share: Share of each batch that is real; at least one image is of either kind.
    """

    share: float

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """See `BatchSource`."""
        real = min(max(1, round(self.share * batch_size)), max(1, batch_size - 1))
        streams = (
            self.synthetic.random_batches(batch_size - real, seed, start),
            self.real.random_batches(real, seed, start),
        )
        for ours, theirs in zip(*streams, strict=True):
            yield SegmentationBatch(torch.cat((ours.images, theirs.images)), torch.cat((ours.labels, theirs.labels)))


@dataclass(frozen=True)
class FineTuned(_SyntheticAndReal):
    """A `BatchSource` of synthetic batches first and real ones from step `switch_at` on.

    Attributes:
        synthetic, real: as in `Mixed`.
        switch_at: number of synthetic batches.
    """

    switch_at: int

    def random_batches(self, batch_size: int, seed: int, start: int = 0) -> Iterator[SegmentationBatch]:
        """See `BatchSource`."""
        yield from islice(self.synthetic.random_batches(batch_size, seed, start), max(0, self.switch_at - start))
        yield from self.real.random_batches(batch_size, seed, max(0, start - self.switch_at))


def _at_size(
    image: NDArray[np.uint8], label: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if image.shape[:2] != size:
        image = codec.resize_image(image, size)
    label = label if label.shape == size else codec.resize_label(label, size).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label
