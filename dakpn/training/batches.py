"""From streams of samples to batches of tensors."""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor

from dakpn.data.schema import Sample
from dakpn.data.training_samples import Arrays, Prepare
from dakpn.training.loop import Batch


def batched(
    samples: Iterator[Sample], prepare: Prepare, batch_size: int, seed: int, rank: int, start_step: int = 0
) -> Iterator[Batch]:
    """Decode, prepare and stack samples.

    The randomness of an example is a function of (seed, rank, its number in the stream), so that a resumed stream
    crops as an uninterrupted one.

    `samples` is endless and already stands at sample `start_step * batch_size`; `prepare` comes from
    `dakpn.data.training_samples`.
    """
    for step in count(start_step):
        examples = []
        for number in range(step * batch_size, (step + 1) * batch_size):
            rng = np.random.default_rng([seed, rank, number])
            examples.append(prepare(next(samples), rng))
        yield collate(examples)


def zipped(*streams: Iterator[Batch]) -> Iterator[Batch]:
    """One batch with the keys of all streams' batches."""
    for batches in zip(*streams, strict=False):
        yield {name: tensor for batch in batches for name, tensor in batch.items()}


def collate(examples: Sequence[Arrays]) -> Batch:
    """Stack examples: images [B, 3, ...] become float in 0..1, `label` int64; other arrays keep their type."""
    return {name: _to_tensor(name, np.stack([e[name] for e in examples])) for name in examples[0]}


def to_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Move all to the device but the patch windows, which are read on the CPU and would cost a synchronisation."""
    for batch in batches:
        yield {
            name: tensor.to(device, non_blocking=True) if name != "synthetic_window" else tensor
            for name, tensor in batch.items()
        }


def _to_tensor(name: str, array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(array)
    if name == "label":
        return tensor.long()
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor
