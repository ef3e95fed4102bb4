"""What a contender is: a labelled synthetic image goes in, an image to train on comes out."""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

OURS = "DA-KPN"
SOURCE_ONLY = "source-only"
ORACLE = "oracle"
"""Name of the contender that trains on all labelled real images: an upper bound, not a baseline."""


@dataclass(frozen=True)
class LabelledImage:
    """A synthetic image and its label.

    Attributes:
        key: in its dataset.
        image: uint8 [H, W, 3].
        label: uint8 [H, W], train ids.
    """

    key: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]


class Contender(Protocol):
    """A way to translate, seen from the downstream net."""

    @property
    def has_draws(self) -> bool:
        """Whether another draw gives another image; then every batch is translated anew."""
        ...

    def translate(self, sample: LabelledImage, draw: int) -> NDArray[np.uint8]:
        """The translated image, uint8 [H, W, 3]; a pure function of sample and draw."""
        ...


def draw_rng(purpose: str, key: str, draw: int) -> np.random.Generator:
    """Randomness of one translation; the purpose keeps the parts of a chain apart."""
    return np.random.default_rng(list(hashlib.sha256(f"{purpose}/{draw}/{key}".encode()).digest()[:16]))


def file_name(contender: str) -> str:
    """A name that every storage takes; different contenders get different ones."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", contender)
    return name if name == contender else f"{name}-{hashlib.sha256(contender.encode()).hexdigest()[:6]}"
