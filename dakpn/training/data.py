"""Typed batches, and their way from prepared samples to the device.

A stream of samples is prepared ahead of need (`dakpn.datasets.stream`), by threads here or by Ray's tasks elsewhere,
and arrives as blocks of stacked arrays. The trainer's own thread does the rest: it cuts blocks into batches, pins their
memory, and copies two batches ahead to the device, so that no step waits for a copy. Images travel as bytes and become
floats where they are used.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from dakpn.datasets.stream import Arrays, PreparedStream, Stream
from dakpn.datasets.threads import ReadAhead

COPIES_AHEAD = 2
_HELD_BYTES = 64 * 2**20


class Batch(Protocol):
    """What the train loop needs to know of a batch."""

    def __len__(self) -> int:
        """Images of each kind in it."""
        ...

    def to(self, device: torch.device) -> Self:
        """The batch on a device, ready to be used: bytes of images have become floats in 0..1."""
        ...


class TensorBatch:
    """Tensors with one entry an image each; the fields are tensors, batches of them, or None."""

    def __len__(self) -> int:
        return len(next(value for value in self._values() if value is not None))

    def to(self, device: torch.device) -> Self:
        """See `Batch`. Copies from pinned memory do not wait for the device."""
        return type(self)(*(None if value is None else _moved(value, device) for value in self._values()))

    def pin(self) -> Self:
        """The batch in memory from which copies to a GPU are asynchronous."""
        return type(self)(*(None if value is None else _pinned(value) for value in self._values()))

    def _values(self) -> Iterator[Any]:
        return (getattr(self, field.name) for field in fields(self))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class PatchWindow(TensorBatch):
    """Where each patch lies in its image.

    Attributes:
        full_size: int64 [B, 2], height and width of the image.
        corner: int64 [B, 2], top and left pixel of the patch.
    """

    full_size: Tensor
    corner: Tensor


@dataclass(frozen=True)
class SyntheticBatch(TensorBatch):
    """What a step of the game needs of synthetic images: of bytes 0..255 on the way, float in 0..1 on the device.

    Attributes:
        low: [B, 3, h, w], whole images at the prediction size.
        patch: [B, 3, H', W'], full-res patches of the same images.
        window: where the patches lie.
        style: int64 [B], numbers that choose each image's style; taken modulo the bank's size.
        noise_seed: int64 [B], from which each image's noise follows.
        image_number: int64 [B], the same for the same image, see `training_decode.key_number`; it stays on the CPU,
            where kept logits are looked up by it.
        class_shares: [B, C, h, w], the share of each class in each low-res pixel; None where no label is seen.
    """

    low: Tensor
    patch: Tensor
    window: PatchWindow
    style: Tensor
    noise_seed: Tensor
    image_number: Tensor
    class_shares: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """See `Batch`."""
        return replace(super().to(device), image_number=self.image_number)


@dataclass(frozen=True)
class RealBatch(TensorBatch):
    """What a step of the game needs of real images: of bytes 0..255 on the way, float in 0..1 on the device.

    Attributes:
        low: [B, 3, h, w], whole images at the prediction size.
        patch: [B, 3, H', W'], full-res patches.
    """

    low: Tensor
    patch: Tensor


@dataclass(frozen=True)
class AdversarialBatch(TensorBatch):
    """Both sides of a step of the game."""

    synthetic: SyntheticBatch
    real: RealBatch


@dataclass(frozen=True)
class SegmentationBatch(TensorBatch):
    """Labelled images.

    Attributes:
        images: [B, 3, h, w], of bytes 0..255 on the way, float in 0..1 on the device.
        labels: train ids [B, h, w], uint8 on the way, int64 on the device.
    """

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Self:
        """See `Batch`."""
        return type(self)(_moved(self.images, device), self.labels.to(device, non_blocking=True).long())


def synthetic_batch(arrays: Arrays) -> SyntheticBatch:
    """The batch of arrays [B, ...] that `synthetic_decoder` makes."""
    tensors = _tensors(arrays)
    window = PatchWindow(tensors.pop("full_size"), tensors.pop("corner"))
    return SyntheticBatch(window=window, **tensors)


def real_batch(arrays: Arrays) -> RealBatch:
    """The batch of arrays [B, ...] that `real_decoder` makes."""
    return RealBatch(**_tensors(arrays))


def segmentation_batch(arrays: Arrays) -> SegmentationBatch:
    """The batch of arrays [B, ...] that `labelled_decoder` makes."""
    tensors = _tensors(arrays)
    return SegmentationBatch(tensors["image"], tensors["label"])


def arrays_of_batches(blocks: Iterator[Arrays], batch_size: int) -> Iterator[Arrays]:
    """Cut and join blocks [n, ...] of whatever sizes into batches [batch_size, ...], in order."""
    held: deque[Arrays] = deque()
    count = 0
    for block in blocks:
        held.append(block)
        count += _rows(block)
        while count >= batch_size:
            yield _taken(held, batch_size)
            count -= batch_size


def read_ahead(blocks: Iterator[Arrays], while_waiting: Callable[[], None] | None) -> ReadAhead[Arrays]:
    """Blocks of examples, taken ahead of need by a thread; `while_waiting` as in `ReadAhead`."""
    return ReadAhead(blocks, lambda block: sum(array.nbytes for array in block.values()), _HELD_BYTES, while_waiting)


_B = TypeVar("_B", bound=TensorBatch)


class BatchLoader:
    """Makes the batches of a worker.

    Args:
        prepared: prepares samples ahead of need.
        device: where batches are wanted.
        while_waiting: called a few times a second while a batch is waited for; what it raises ends the waiting.
    """

    def __init__(
        self, prepared: PreparedStream, device: torch.device, while_waiting: Callable[[], None] | None = None
    ) -> None:
        self._prepared, self._device, self._while_waiting = prepared, device, while_waiting

    def segmentation_batches(self, labelled: Stream, batch_size: int) -> Iterator[SegmentationBatch]:
        """Batches of the arrays of `labelled_decoder`, on the device, as long as the stream goes."""
        return self._ahead(map(segmentation_batch, self._arrays(labelled, batch_size)))

    def adversarial_batches(self, synthetic: Stream, real: Stream, batch_size: int) -> Iterator[AdversarialBatch]:
        """Batches of both domains, on the device, as long as both streams go; see the two decoders."""
        ours = map(synthetic_batch, self._arrays(synthetic, batch_size))
        theirs = map(real_batch, self._arrays(real, batch_size))
        return self._ahead(map(AdversarialBatch, ours, theirs))

    def _arrays(self, stream: Stream, batch_size: int) -> Iterator[Arrays]:
        with read_ahead(self._prepared(stream), self._while_waiting) as blocks:
            yield from arrays_of_batches(iter(blocks), batch_size)

    def _ahead(self, batches: Iterator[_B]) -> Iterator[_B]:
        """Batches on the device; the copies of the next ones are under way when a batch is handed out."""
        if self._device.type != "cuda":
            yield from (batch.to(self._device) for batch in batches)
            return
        copied: deque[_B] = deque()
        for batch in batches:
            copied.append(batch.pin().to(self._device))
            if len(copied) > COPIES_AHEAD:
                yield copied.popleft()
        yield from copied


def _moved(value: Any, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value.to(device)
    there = value.to(device, non_blocking=True)
    return there.float().div_(255) if there.dtype == torch.uint8 else there


def _pinned(value: Any) -> Any:
    return value.pin_memory() if isinstance(value, Tensor) else value.pin()


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _rows(block: Arrays) -> int:
    return len(next(iter(block.values())))


def _taken(held: deque[Arrays], batch_size: int) -> Arrays:
    """Take the first rows of the blocks, as new arrays; what is left of a block stays."""
    parts: list[Arrays] = []
    missing = batch_size
    while missing:
        block = held.popleft()
        taken = {name: array[:missing] for name, array in block.items()}
        if _rows(block) > missing:
            held.appendleft({name: array[missing:] for name, array in block.items()})
        parts.append(taken)
        missing -= _rows(taken)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
