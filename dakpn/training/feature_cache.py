"""The frozen encoder's logits, kept from epoch to epoch: low-res images are not augmented, so they never change."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dakpn.data.schema import Sample
from dakpn.data.training_samples import Arrays, Prepare
from dakpn.models.segmenter import Segmenter
from dakpn.training.loop import Batch


class LogitCache:
    """Coarse logits by image, fp16 in host memory.

    When full it keeps what it has: in shuffled epochs every image is as likely to come next as any other. An image
    goes through the encoder alone, and every answer through fp16, so that an answer depends neither on the rest of the
    batch nor on what is cached, and a resumed run equals an uninterrupted one.

    Attributes:
        held_bytes: memory taken, at most `max_bytes`.
        hits, misses: images answered so far.
    """

    def __init__(self, encoder: Segmenter, max_bytes: int) -> None:
        self._encoder = encoder
        self._max_bytes = max_bytes
        self._held: dict[int, Tensor] = {}
        self.held_bytes = self.hits = self.misses = 0

    def coarse_logits(self, images: Tensor, numbers: Tensor) -> Tensor:
        """The encoder's coarse logits float [B, C, h', w'], on the CPU.

        Args:
            images: float [B, 3, h, w] in 0..1.
            numbers: int64 [B], from `key_number`; the same number means the same image.
        """
        pairs = zip(images.split(1), numbers.tolist(), strict=True)
        return torch.cat([self._one(image, number) for image, number in pairs]).float()

    def added_to(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Add `synthetic_logits` to batches with `synthetic_low` and `synthetic_key`."""
        for batch in batches:
            yield {**batch, "synthetic_logits": self.coarse_logits(batch["synthetic_low"], batch["synthetic_key"])}

    @torch.no_grad()
    def _one(self, image: Tensor, number: int) -> Tensor:
        if number in self._held:
            self.hits += 1
            return self._held[number]
        self.misses += 1
        device = next(self._encoder.parameters()).device
        logits = self._encoder.coarse_logits(image.to(device)).half().cpu()
        if self.held_bytes + logits.nbytes <= self._max_bytes:
            self._held[number] = logits
            self.held_bytes += logits.nbytes
        return logits


def with_key(prepare: Prepare) -> Prepare:
    """Add `synthetic_key`, the sample's `key_number`, to what `prepare` makes."""

    def prepare_with_key(sample: Sample, rng: np.random.Generator) -> Arrays:
        return {**prepare(sample, rng), "synthetic_key": np.array(key_number(sample.key))}

    return prepare_with_key


def key_number(key: str) -> int:
    """A 63-bit number for an image key; among a million images two share one with a chance of 1 in 18 million."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1
