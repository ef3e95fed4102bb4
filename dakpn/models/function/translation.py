"""The translation function f(x; theta) and its guarantee.

Label guarantee: no resampling, no warping, no generator. Output pixel p depends on input pixels at most `radius`
away, with a kernel centerd on p; labels are copied byte for byte.
"""

import torch
from torch import Tensor

from dakpn.config import TranslationConfig
from dakpn.models.function.color import channel_values
from dakpn.models.function.noise import seeded_shares
from dakpn.models.function.stages import build_stage

_SMALLEST_DRAWN = 1e-6

Window = tuple[int, int, int, int]
"""(top, left, height, width) in full-res pixels."""


class TranslationFunction:
    """Stages applied in order; theta concatenates their params.

    Attributes:
        names: one per param; `identity`, `low`, `high` follow their order.
        radius: pixels to each side that an output pixel depends on, the sum over the stages.

    Source: DA-KPN; the bounds and the sigma identity of 0 are departures (an identity of 1 blurs).
    """

    def __init__(self, config: TranslationConfig) -> None:
        self.stages = tuple(build_stage(stage) for stage in config.stages)
        self.names = tuple(name for stage in self.stages for name in stage.names)
        self.identity = tuple(value for stage in self.stages for value in stage.identity)
        self.low = tuple(value for stage in self.stages for value in stage.low)
        self.high = tuple(value for stage in self.stages for value in stage.high)
        self.radius = sum(stage.radius for stage in self.stages)

    @property
    def num_params(self) -> int:
        """Params a pixel (12 for the paper's stages)."""
        return len(self.names)

    def bound(self, raw: Tensor) -> Tensor:
        """Params [B, P, h, w] inside the bounds for any raw head output [B, P, h, w]."""
        return torch.cat([stage.bound(part) for stage, part in zip(self.stages, self._split(raw), strict=True)], 1)

    def with_strength(self, params: Tensor, strength: float | Tensor) -> Tensor:
        """`identity + strength * (params - identity)`; 0 is the identity, 1 the params themselves."""
        if isinstance(strength, float) and strength == 1.0:
            return params
        identity = channel_values(self.identity, params)
        return (params - identity).mul_(strength).add_(identity)

    def with_drawn(self, params: Tensor, seeds: Tensor) -> Tensor:
        """Params [B, P, h, w] with what each image draws beside them, inside the bounds.

        What is drawn is one value for an image, even in the stage's range. It adds to the params as variances do, for
        a blur after a blur is one blur, and a noise after a noise one noise.

        Args:
            params: inside the bounds.
            seeds: int64 [B], those of the images' noise; an image's draws are a function of its own seed alone.
        """
        ranges = [stage.drawn or (0.0, 0.0) for stage in self.stages for _ in stage.names]
        if not any(high for _, high in ranges):
            return params
        lows, spans = (channel_values(values, params) for values in _lows_and_spans(ranges))
        numbers = tuple(number for number, stage in enumerate(self.stages) for _ in stage.names)
        shares = seeded_shares(seeds, numbers).to(params)[..., None, None]
        # The smallest number keeps the gradient finite where both are 0.
        together = params.hypot((lows + spans * shares).clamp(min=_SMALLEST_DRAWN))
        has_range = channel_values(tuple(float(high > 0) for _, high in ranges), params) > 0
        return torch.where(has_range, together.minimum(channel_values(self.high, params)), params)

    def for_shrunk(self, params: Tensor, factor: Tensor) -> Tensor:
        """Params [B, P, ...] that do to an image shrunk by `factor` [B], 0..1, what `params` do to it whole."""
        shrinks = channel_values(tuple(float(stage.shrinks) for stage in self.stages for _ in stage.names), params)
        return params * (1 - shrinks * (1 - factor.to(params).view(-1, 1, 1, 1)))

    def apply(self, image: Tensor, params: Tensor, noise: Tensor) -> Tensor:
        """Translate images.

        Args:
            image: float [B, 3, H, W] in 0..1.
            params: [B, P, H, W], at the image's own resolution (see `upsample_params`).
            noise: standard normal, of the image's shape.

        Returns:
            [B, 3, H, W] in 0..1.
        """
        for stage, part in zip(self.stages, self._split(params), strict=True):
            image = stage.apply(image, part, noise)
        return image.clamp(0, 1)

    def _split(self, params: Tensor) -> tuple[Tensor, ...]:
        return params.split([len(stage.names) for stage in self.stages], 1)


def _lows_and_spans(ranges: list[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(low for low, _ in ranges), tuple(high - low for low, high in ranges)


def upsample_params(params: Tensor, size: tuple[int, int], window: Window | None = None) -> Tensor:
    """Bilinear upsampling (align_corners=False) of low-res params to full-res, or to a window of it.

    A window equals the same region of the whole to the last bit, so that tiles leave no seams.

    Args:
        params: [B, P, h, w].
        size: (H, W) of the full-res image.
        window: (top, left, height, width) within it; the whole image by default.

    Returns:
        [B, P, height, width].
    """
    top, left, height, width = window or (0, 0, *size)
    first = _low_position(params.shape[-2], size[0], top)
    last = _low_position(params.shape[-2], size[0], top + height - 1)
    needed = slice(int(first), int(last) + 2)
    # Columns first: there are far fewer low-res rows than full-res ones.
    columns = _interpolate(params[..., needed, :], params.shape[-1], size[1], left, width, dim=-1)
    return _interpolate(columns, params.shape[-2], size[0], top, height, dim=-2, skipped=int(first))


def upsample_patches(params: Tensor, full_size: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
    """Params of a window of its own in each image, all of one size, as `upsample_params` gives them but for rounding.

    As products with a matrix for each axis: few kernels, and a gradient that is the same each time on a GPU too, where
    that of picking rows one by one is summed in any order.

    Args:
        params: [B, P, h, w].
        full_size: int64 [B, 2], (H, W) of the full-res images.
        corner: int64 [B, 2], (top, left) of the windows.
        size: (height, width) of the windows.

    Returns:
        [B, P, height, width].
    """
    rows, columns = (
        _interpolation(params, params.shape[2 + axis], full_size[:, axis], corner[:, axis], size[axis])
        for axis in (0, 1)
    )
    return rows[:, None] @ (params @ columns.mT[:, None])


def _interpolation(like: Tensor, low: int, full: Tensor, start: Tensor, length: int) -> Tensor:
    """Weights [B, length, low] of low-res positions in full-res ones [start, start + length) of each image."""
    position = start[:, None] + torch.arange(length, device=like.device, dtype=torch.float64)
    scale = torch.full_like(full, low, dtype=torch.float64) / full
    source = ((position + 0.5) * scale[:, None] - 0.5).clamp(0, low - 1)
    distance = source[..., None] - torch.arange(low, device=like.device)
    return (1 - distance.abs_()).clamp_(min=0).to(like.dtype)


def _low_position(low: int, full: int, position: int) -> float:
    """Low-res coordinate, 0 or more, of a full-res row or column."""
    return max((position + 0.5) * (low / full) - 0.5, 0.0)


def _interpolate(values: Tensor, low: int, full: int, start: int, length: int, *, dim: int, skipped: int = 0) -> Tensor:
    """Full-res rows or columns [start, start + length) of `values`, which lack the first `skipped` of `low` ones."""
    position = torch.arange(start, start + length, device=values.device, dtype=torch.float64)
    source = ((position + 0.5) * (low / full) - 0.5).clamp(0, low - 1)
    before = source.floor().long()
    after = (before + 1).clamp(max=low - 1)
    shape = [1] * values.dim()
    shape[dim] = length
    fraction = (source - before).to(values.dtype).view(shape)
    first = values.index_select(dim, before - skipped)
    return values.index_select(dim, after - skipped).sub_(first).mul_(fraction).add_(first)
