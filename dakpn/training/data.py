"""From streams of samples to batches of tensors."""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor

from dakpn.data.schema import Sample
from dakpn.data.training_samples import Arrays, Prepare
from dakpn.training.loop import Batch

_READ_ON_CPU = ("synthetic_window", "synthetic_noise")


def batched(
    samples: Iterator[Sample],
    prepare: Prepare,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    start_step: int = 0,
) -> Iterator[Batch]:
    """Decode, prepare and stack samples.

    The randomness of an example is a function of the seed and of its number among the samples of all workers, who take
    turns: so a resumed stream crops as an uninterrupted one, and several workers crop as a single one that sees the
    same samples.

    Args:
        samples: endless; it already stands at this worker's sample `start_step * batch_size`.
        prepare: from `dakpn.data.training_samples`.
        batch_size: of this worker.
        seed: of the run.
        rank: of this worker.
        world_size: how many workers there are.
        start_step: number of the first batch.
    """
    for step in count(start_step):
        examples = []
        for number in range(step * batch_size, (step + 1) * batch_size):
            rng = np.random.default_rng([seed, number * world_size + rank])
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
    """Move all to the device but what is read on the CPU, which would cost a synchronisation."""
    for batch in batches:
        yield {
            name: tensor if name in _READ_ON_CPU else tensor.to(device, non_blocking=True)
            for name, tensor in batch.items()
        }


def _to_tensor(name: str, array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(array)
    if name == "label":
        return tensor.long()
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor
