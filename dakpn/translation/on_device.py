"""An image on a device that is not the CPU: one copy there, one back, and nothing of the host's in between.

Each form here gives what the CPU's gives: the low-res image as Pillow has it, the class shares, and the logits as
rounded as they are stored. None waits for the device; what is wrong with an image is told when it has come back.
How long this takes was not measured on a GPU: tests count waits, and compare values on the CPU.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dakpn.config import ParamsPrecision
from dakpn.datasets.class_shares import cells_of_pixels
from dakpn.errors import WeightsError
from dakpn.images.codec import shrink_factors
from dakpn.translation.stored_params import LARGEST_HALF, LEVELS

_FRACTION_BITS = 22
"""Of Pillow's weights for 8 bits a channel."""


def sent(array: NDArray[np.uint8], device: torch.device) -> Tensor:
    """A copy on the device, from pinned memory where that is a GPU: nobody waits for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class Returning:
    """An image on its way back from a device.

    Args:
        image: uint8 [H, W, 3] on the device.
        params: What it was translated with; it is found out on the device whether they are finite.
    """

    def __init__(self, image: Tensor, params: Tensor) -> None:
        self._shape = tuple(image.shape)
        both = torch.cat((image.flatten(), params.isfinite().all().logical_not().to(torch.uint8)[None]))
        on_gpu = both.device.type == "cuda"
        self._there = both  # kept until it is back
        self._back = torch.empty(both.shape, dtype=torch.uint8, pin_memory=on_gpu)
        self._back.copy_(both, non_blocking=True)
        self._ready = torch.cuda.Event() if on_gpu else None
        if self._ready is not None:
            self._ready.record()

    def __call__(self) -> NDArray[np.uint8]:
        """Wait for the image, uint8 [H, W, 3]; from any thread.

        Raises:
            WeightsError: A param is not finite.
        """
        if self._ready is not None:
            self._ready.synchronize()
        values = self._back.numpy()
        if values[-1]:
            raise WeightsError(
                "the predicted params are not finite; expected numbers: the weights are damaged, train again"
            )
        return values[:-1].reshape(self._shape)


def shrunk(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`codec.resize_image` as the predictor takes it: float [1, 3, h, w] in 0..1 of uint8 [H, W, 3].

    To the bit where Pillow weights along the rows first, as it does for GTA5's images, and a grey level away at some
    pixels where it does not: its versions choose by the sizes.
    """
    factors = shrink_factors((image.shape[0], image.shape[1]), size)
    steps = _resampling((image.shape[0], image.shape[1]), size, factors, image.device)
    channels = image.permute(2, 0, 1).float()
    if steps.division is not None:
        reciprocals, halves = steps.division
        sums = F.avg_pool2d(channels[None], factors, ceil_mode=True, divisor_override=1)[0].long()
        channels = ((sums + halves) * reciprocals) >> 24
    # Products and sums of whole numbers below 2**53 are exact, in whatever order.
    columns = _rounded_shift(channels.double() @ steps.columns)
    return _rounded_shift(steps.rows @ columns)[None].float().div(255)


def shares_of(train_ids: Tensor, num_classes: int, size: tuple[int, int]) -> Tensor:
    """`class_shares` of train ids uint8 [H, W]: uint8 [C, h, w]."""
    rows, columns = (-(-cells // pixels) for cells, pixels in zip(size, train_ids.shape, strict=True))
    if (rows, columns) != (1, 1):
        train_ids = train_ids.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    cells, pixels = _grid((train_ids.shape[0], train_ids.shape[1]), size, train_ids.device)
    place = (cells * (num_classes + 1) + train_ids.clamp(max=num_classes)).flatten()
    counts = torch.zeros(math.prod(size) * (num_classes + 1), dtype=torch.int32, device=train_ids.device)
    counts.scatter_add_(0, place, torch.ones_like(place, dtype=torch.int32))
    found = counts.view(*size, num_classes + 1)[..., :num_classes] * 255 // pixels[..., None]
    return found.to(torch.uint8).permute(2, 0, 1).contiguous()


def rounded_logits(logits: Tensor, precision: ParamsPrecision) -> Tensor:
    """Logits [1, C, h', w'] as `StoredLogits` would give them back; those that are not finite stay so."""
    if precision == "float32":
        return logits
    if precision == "float16":
        return logits.clamp(-LARGEST_HALF, LARGEST_HALF).half().float()
    low, high = logits.amin((2, 3), keepdim=True), logits.amax((2, 3), keepdim=True)
    scale = (high - low) / LEVELS
    steps = ((logits - low) / torch.where(scale > 0, scale, 1.0)).round()
    return low + scale * steps


def _rounded_shift(sums: Tensor) -> Tensor:
    """Whole numbers divided by the weights' unit, halves up."""
    return ((sums + (1 << (_FRACTION_BITS - 1))) / (1 << _FRACTION_BITS)).floor()


class _Resampling(NamedTuple):
    """What resizing takes.

    Attributes:
        division: For each block, int64 [R, C], 2**24 divided by its pixels, and half of these; None without blocks.
        rows: Weights [h, R], whole numbers as float64.
        columns: Likewise, [C, w].
    """

    division: tuple[Tensor, Tensor] | None
    rows: Tensor
    columns: Tensor


@lru_cache(maxsize=16)
def _resampling(
    old: tuple[int, int], new: tuple[int, int], factors: tuple[int, int], device: torch.device
) -> _Resampling:
    """Source: `ImagingReduce` and `precompute_coeffs` of Pillow."""
    rows, columns = (
        np.minimum(factor, pixels - factor * np.arange(-(-pixels // factor)))
        for pixels, factor in zip(old, factors, strict=True)
    )
    pixels = rows[:, None] * columns
    reciprocals = (np.float32(2**32) / (256 * pixels).astype(np.float32)).astype(np.int64)
    weights = [_weights(*sides) for sides in zip(old, factors, new, strict=True)]
    with torch.inference_mode(mode=False):  # a tensor of inference could never take part in training
        there = [torch.from_numpy(values).to(device) for values in (reciprocals, pixels // 2, weights[0], weights[1].T)]
    division = None if factors == (1, 1) else (there[0], there[1])
    return _Resampling(division, there[2], there[3])


def _weights(pixels: int, factor: int, wanted: int) -> NDArray[np.float64]:
    """Bilinear weights [wanted, blocks] of blocks of so many pixels, over the area of each new pixel."""
    blocks, scale = -(-pixels // factor), pixels / factor / wanted
    reach = max(scale, 1.0)
    weights = np.zeros((wanted, blocks))
    for number in range(wanted):
        center = (number + 0.5) * scale
        first, last = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), blocks)
        own = [max(1.0 - abs((block - center + 0.5) * (1.0 / reach)), 0.0) for block in range(first, last)]
        total = 0.0
        for weight in own:
            total += weight
        weights[number, first:last] = [int(0.5 + weight / total * (1 << _FRACTION_BITS)) for weight in own]
    return weights


@lru_cache(maxsize=16)
def _grid(pixels: tuple[int, int], size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The cell of each pixel, int64 [H, W], and the pixels of each cell, int32 [h, w]."""
    rows, columns = (cells_of_pixels(side, cells) for side, cells in zip(pixels, size, strict=True))
    cells = rows.astype(np.int64)[:, None] * size[1] + columns
    counted = np.bincount(rows)[:, None] * np.bincount(columns)
    with torch.inference_mode(mode=False):
        return torch.from_numpy(cells).to(device), torch.from_numpy(counted.astype(np.int32)).to(device)
