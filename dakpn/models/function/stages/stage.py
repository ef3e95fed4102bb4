"""Protocol of a stage of the translation function."""

import math
from typing import Protocol

from torch import Tensor


class Stage(Protocol):
    """One local function with per-pixel params.

    Attributes:
        names: one name per param, in channel order.
        identity: the params that change nothing.
        low, high: inclusive bounds of each param.
        radius: pixels to each side of p that output pixel p depends on.
        shrinks: whether the params count pixels: in an image shrunk to half, half of them does the same. Their identity
            is 0 then.
        drawn: range of a value that each image draws, for the stages that have one; it is added to the params as
            variances are. None: the params are the head's alone.
    """

    names: tuple[str, ...]
    identity: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    radius: int
    shrinks: bool
    drawn: tuple[float, float] | None

    def bound(self, raw: Tensor) -> Tensor:
        """Params [B, P, H, W] inside the bounds for any raw head output [B, P, H, W]."""
        ...

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """The image [B, 3, H, W] after this stage; `noise` is standard normal, of the image's shape."""
        ...


def logit(fraction: float) -> float:
    """What a sigmoid takes to a fraction in 0..1."""
    return math.log(fraction / (1 - fraction))
