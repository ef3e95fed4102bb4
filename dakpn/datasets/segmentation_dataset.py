"""A dataset by index, in any format, for `torch.utils.data.DataLoader` or a plain loop; needs no torch.

What is read for an item is its surroundings and never the whole shard: a row group of Parquet, one row of an archive
or a folder. What came along is kept, so that a loop in order reads everything once.
"""

from collections import OrderedDict
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, RowAccess, RowBlock
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.schema import Sample
from dakpn.datasets.training_decode import channel_first
from dakpn.errors import DataError
from dakpn.images import codec
from dakpn.images.augmentation import Augmentation

_CACHE_BYTES = 64 * 2**20
_OPEN_SHARDS = 1024


class SegmentationDataset:
    """Images and train ids of a packed or translated dataset, by index.

    An item is `{"key": str, "image": uint8 [3, h, w], "label": uint8 [h, w]}`, the label in train ids and left out if
    the dataset has none. It is a function of (seed, epoch, index) alone: neither the number of workers nor the order
    of access counts. Copies go to worker processes without what they hold in memory.

    A subclass that makes images from what is stored overrides `decode`.

    Example:
        ```python
        dataset = SegmentationDataset("data/translated", size=(512, 1024), augmentation=Augmentation())
        loader = DataLoader(dataset, batch_size=8, shuffle=True, num_workers=4)
        ```

    Args:
        uri: A finished dataset, a path or `s3://`.
        size: (height, width) of every item; None keeps each image's own.
        augmentation: Random views; None gives the image as it is.
        label_space: Classes to map the stored ids to; None takes the dataset's own.
        seed: Decides the views, together with epoch and index.
        cache_bytes: Encoded bytes held at most, in each process.

    Attributes:
        label_space: See above; None without labels.
        epoch: Changes the views; see `set_epoch`.

    Raises:
        UsageError: There is no finished dataset.
        DataError: Its index is damaged.
    """

    def __init__(
        self,
        uri: str,
        *,
        size: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
        label_space: LabelSpace | None = None,
        seed: int = 0,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        index = manifest.read_index(uri)
        self.uri, self.size, self.augmentation, self.seed = uri, size, augmentation, seed
        self.label_space = label_space
        if label_space is None and index.labelled and index.label_space is not None:
            self.label_space = LabelSpace.from_dict(index.label_space)
        self.epoch = 0
        self._format = FORMATS[index.format]
        self._shards = [shard.name for shard in index.shards]
        self._starts = np.array([0, *accumulate(shard.rows for shard in index.shards)])
        self._cache_bytes = cache_bytes
        self._forget()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item; negative indexes count from the end.

        Raises:
            IndexError: There is no such item.
            DataError: It cannot be decoded, or its label holds an id that the classes do not know.
            StorageError: It cannot be read.
        """
        index = self._checked(index)
        sample = self.sample(index)
        image, label = self.decode(sample, index), self._label(sample)
        if self.augmentation is not None:
            ignore_id = 255 if self.label_space is None else self.label_space.ignore_id
            ids = self._train_ids(label, sample)
            image, ids = self.augmentation.view(image, ids, self.size, self.rng(index), ignore_id)
        else:
            if self.size is not None and image.shape[:2] != self.size:
                image = codec.resize_image(image, self.size)
                label = None if label is None else codec.resize_label(label, self.size)
            ids = self._train_ids(label, sample)
        item: dict[str, Any] = {"key": sample.key, "image": channel_first(image)}
        return item if ids is None else item | {"label": ids}

    def sample(self, index: int) -> Sample:
        """Return an item as it is stored: encoded. Raises like `__getitem__`."""
        shard, position = self.place(index)
        for key, block in self._blocks.items():
            if key[0] == shard and block.start <= position < block.start + len(block.rows):
                self._blocks.move_to_end(key)
                return block.rows[position - block.start]
        block = self._read_block(shard, position)
        return block.rows[position - block.start]

    def place(self, index: int) -> tuple[int, int]:
        """Return the number of an item's shard, and its position in it, both from 0. Raises `IndexError`."""
        index = self._checked(index)
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return shard, index - int(self._starts[shard])

    def decode(self, sample: Sample, index: int) -> NDArray[np.uint8]:
        """Return the image [H, W, 3] of a stored row, of any size that its label fits; `rng(index)` for what is random.

        Raises:
            DataError: It cannot be decoded.
        """
        return codec.decode_image(sample.image, self._origin(sample))

    def rng(self, index: int) -> np.random.Generator:
        """Return the source of chance of an item in this epoch; equal at every call."""
        return np.random.default_rng([self.seed, self.epoch, index])

    def set_epoch(self, epoch: int) -> None:
        """Have other views from here on. Workers of a `DataLoader` learn of it when they start.

        With `persistent_workers=True` they start once: leave that off, or the views repeat.
        """
        self.epoch = epoch

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_blocks", "_open", "_held_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._blocks: OrderedDict[tuple[int, int], RowBlock] = OrderedDict()
        self._open: OrderedDict[int, RowAccess] = OrderedDict()
        self._held_bytes = 0

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"got the index {index} of {len(self)} items in {self.uri}")
        return int(index) % len(self)

    def _label(self, sample: Sample) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
        if self.label_space is None:
            return None
        if sample.label is None:
            raise DataError(f"{self._origin(sample)} has no label, expected one; pack the dataset again")
        return codec.decode_label(sample.label, f"{self._origin(sample)}: label")

    def _train_ids(self, label: NDArray[np.uint8] | NDArray[np.uint16] | None, sample: Sample) -> Any:
        if label is None or self.label_space is None:
            return None
        return self.label_space.to_train_ids(label, self._origin(sample))

    def _origin(self, sample: Sample) -> str:
        return f"{self.uri}: {sample.key}"

    def _read_block(self, shard: int, position: int) -> RowBlock:
        if shard not in self._open:
            name = self._shards[shard]
            self._open[shard] = self._format.access(self._format.uri(self.uri, name))
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        block = self._open[shard].read(position)
        self._blocks[shard, block.start] = block
        self._held_bytes += block.bytes
        while self._held_bytes > self._cache_bytes and len(self._blocks) > 1:
            self._held_bytes -= self._blocks.popitem(last=False)[1].bytes
        return block
