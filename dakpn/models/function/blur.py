"""Spatially varying Gaussian blur: exact, differentiable, and never unfolded.

The definition is `y(p) = sum_q k(q) x(p + q) / sum_q k(q)` with `k(q) = exp(-|q|^2 / 2 sigma(p)^2)` over a square
window with replicated edges. Gathering the shifted images one by one, with both axes folded by symmetry, takes
(R + 1)^2 multiply-adds and a few block-sized buffers instead of (2R + 1)^2 copies of the image. That is the form for
CPUs, in blocks that stay in the cache. A GPU waits for each kernel's launch, so there all shifts along one axis are
taken at once: 13 (R + 1) kernels, forward and backward, instead of 5 R^2.

Each pixel's window is its own, `window_radius(sigma(p))`, so its value depends neither on its neighbours' sigmas nor
on how the image is cut into blocks or tiles: those only decide how many zero weights are computed in vain.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_RADIUS = 12
"""Pixels: the paper's window is 25 x 25."""
SIGMAS_IN_WINDOW = 4.0
"""Cutting the window at four sigmas errs by at most 0.003 of a grey level (three: 0.18)."""
_EPSILON = {torch.float32: 1e-8, torch.float64: 1e-16}
_BLOCK_ELEMENTS = 1 << 17
"""Elements of a block, whose buffers should stay in the cache."""


def window_radius(max_sigma: float) -> int:
    """Pixels to each side that a blur of at most `max_sigma` reads (all of them when it is not finite)."""
    if not math.isfinite(max_sigma):
        return MAX_RADIUS
    return min(MAX_RADIUS, math.ceil(SIGMAS_IN_WINDOW * max_sigma))


def gaussian_blur(image: Tensor, sigma: Tensor, max_sigma: float = math.inf) -> Tensor:
    """Blur each pixel of each channel with its own Gaussian.

    Args:
        image: float [B, C, H, W].
        sigma: standard deviations in pixels, of the image's shape, >= 0; 0 is the identity.
        max_sigma: bound of the standard deviations, which spares a GPU windows that are never needed.

    Returns:
        [B, C, H, W], float64 if the image is, else float32: half precision, as autocast may bring, is too coarse for
        the weights' recurrence. Differentiable in both arguments; the gradient in sigma vanishes as sigma approaches 0.

    Source: DA-KPN, section on the translation function. Departure: the window ends at four sigmas, or at the paper's
    12 pixels if that comes first.
    """
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    image, sigma = image.to(dtype), sigma.to(dtype)
    if image.device.type == "cpu":
        return _FoldedGather.apply(image, sigma)
    return StackedGather.apply(image, sigma, window_radius(max_sigma))


class _Block(NamedTuple):
    """Rows [top, bottom) of some images, and the largest window of their pixels."""

    images: slice
    top: int
    bottom: int
    radius: int


class _FoldedGather(torch.autograd.Function):
    """Forward and adjoint of the folded gather, block by block."""

    @staticmethod
    def forward(ctx, image: Tensor, sigma: Tensor) -> Tensor:
        blocks = _blocks(sigma)
        margin = max((block.radius for block in blocks), default=0)
        padded = F.pad(image, (margin,) * 4, mode="replicate")
        output = torch.empty_like(image)
        moment = torch.empty_like(image) if ctx.needs_input_grad[1] else None
        for block in blocks:
            weights = _axis_weights(_rows(sigma, block), block.radius)
            scale = _window_sum(_rows(sigma, block), weights).square().reciprocal_()
            total, second = _gather(
                _surroundings(padded, block, margin), weights, with_second_moment=moment is not None
            )
            _rows(output, block).copy_(total.mul_(scale))
            if moment is not None and second is not None:
                _rows(moment, block).copy_(second.mul_(scale))
        ctx.save_for_backward(sigma, output, moment)
        ctx.blocks, ctx.margin = blocks, margin
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        sigma, output, moment = ctx.saved_tensors
        margin, (height, width) = ctx.margin, grad.shape[-2:]
        grad_image = grad_sigma = None
        if ctx.needs_input_grad[0]:
            grad_image = grad.new_zeros(*grad.shape[:2], height + 2 * margin, width + 2 * margin)
        if ctx.needs_input_grad[1]:
            grad_sigma = torch.empty_like(grad)
        for block in ctx.blocks:
            block_sigma, block_grad = _rows(sigma, block), _rows(grad, block)
            weights = _axis_weights(block_sigma, block.radius)
            window_sum = _window_sum(block_sigma, weights)
            if grad_image is not None:
                _scatter(block_grad / window_sum.square(), weights, _surroundings(grad_image, block, margin))
            if grad_sigma is not None:
                # dy/dsigma = (4 sigma / v^2) (E[r^2 x] - E[r^2] y), expectations over the normalized window.
                square_radius = _window_sum(block_sigma, weights, power=2).mul_(2).div_(window_sum)
                spread = _rows(moment, block) - square_radius * _rows(output, block)
                slope = 4 * block_sigma / _doubled_variance(block_sigma).square()
                _rows(grad_sigma, block).copy_(block_grad * slope * spread)
        if grad_image is not None:
            grad_image = _fold_border(_fold_border(grad_image, margin, dim=-1), margin, dim=-2)
        return grad_image, grad_sigma


class StackedGather(torch.autograd.Function):
    """The same sums, with all vertical shifts of the window in one tensor [2R + 1, B, C, H, W]: the form for GPUs."""

    @staticmethod
    def forward(ctx, image: Tensor, sigma: Tensor, radius: int) -> Tensor:
        """Arguments as for `gaussian_blur`; `radius` bounds every pixel's window."""
        weights, squares = _stacked_weights(sigma, radius)
        window_sum = weights.sum(0)
        # The sums of x and, where sigma learns, of d^2 x along the first axis, at once.
        kernels = torch.stack((weights, weights * squares)) if ctx.needs_input_grad[1] else weights[None]
        sums = image.new_zeros(len(kernels), *image.shape)
        padded = F.pad(image, (radius,) * 4, mode="replicate")
        for i, columns in enumerate(_folded(padded, radius, dim=-1)):
            rows = (columns.unfold(-2, 2 * radius + 1, 1).movedim(-1, 0) * kernels).sum(1)
            sums.addcmul_(rows, weights[radius + i])
            if i and len(kernels) == 2:
                sums[1].addcmul_(rows[0], weights[radius + i], value=i * i)
        sums.mul_(window_sum.square().reciprocal_())
        output = sums[0]
        moment = sums[1] if len(kernels) == 2 else None
        ctx.save_for_backward(sigma, output, moment, weights, squares, window_sum)
        ctx.radius = radius
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Adjoint of the gather in the image; in sigma, as in `_FoldedGather`."""
        sigma, output, moment, weights, squares, window_sum = ctx.saved_tensors
        grad_image = grad_sigma = None
        if ctx.needs_input_grad[0]:
            grad_image = _stacked_scatter(grad / window_sum.square(), weights, ctx.radius)
        if ctx.needs_input_grad[1]:
            square_radius = (weights * squares).sum(0).mul_(2).div_(window_sum)
            slope = 4 * sigma / _doubled_variance(sigma).square()
            grad_sigma = grad * slope * (moment - square_radius * output)
        return grad_image, grad_sigma, None


def _stacked_weights(sigma: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """exp(-d^2 / v) for d = -R..R, 0 beyond a pixel's own window, [2R + 1, B, C, H, W]; and d^2, one value each."""
    distance = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype).abs_().view(-1, 1, 1, 1, 1)
    squares = distance.square()
    weights = (-squares / _doubled_variance(sigma)).exp_()
    # A sigma that is not a number shall show in the result: the comparison is false for it.
    return weights.masked_fill_((SIGMAS_IN_WINDOW * sigma <= distance - 1) & (distance > 0), 0), squares


def _stacked_scatter(grad: Tensor, weights: Tensor, radius: int) -> Tensor:
    """Adjoint of the gather of `StackedGather` in the image, without its border."""
    batch, channels, height, width = grad.shape
    count = 2 * radius + 1
    padded = grad.new_zeros(batch, channels, height + 2 * radius, width + 2 * radius)
    lanes = grad.new_zeros(count, batch, channels, height + 2 * radius, width)
    # Lane k takes its rows k further down, to where they were gathered from.
    step, *strides = lanes.stride()
    shifted = lanes.as_strided((count, *grad.shape), (step + width, *strides))
    for i in range(radius + 1):
        torch.mul(grad * weights[radius + i], weights, out=shifted)
        columns = lanes.sum(0)
        padded.narrow(-1, radius - i, width).add_(columns)
        if i:
            padded.narrow(-1, radius + i, width).add_(columns)
    return _fold_border(_fold_border(padded, radius, dim=-1), radius, dim=-2)


def _blocks(sigma: Tensor) -> list[_Block]:
    """Cut a batch into blocks: rows of one image, or several small images."""
    batch, channels, height, width = sigma.shape
    rows = min(height, max(1, _BLOCK_ELEMENTS // (channels * width)))
    images = min(batch, max(1, _BLOCK_ELEMENTS // (channels * height * width)))
    places = [
        (slice(first, first + images), top, min(top + rows, height))
        for first in range(0, batch, images)
        for top in range(0, height, rows)
    ]
    row_maxima = sigma.detach().amax((1, 3))
    maxima = [float(row_maxima[chosen, top:bottom].amax()) for chosen, top, bottom in places]
    return [_Block(*place, window_radius(largest)) for place, largest in zip(places, maxima, strict=True)]


def _rows(values: Tensor, block: _Block) -> Tensor:
    return values[block.images, :, block.top : block.bottom]


def _surroundings(padded: Tensor, block: _Block, margin: int) -> Tensor:
    """The block with `block.radius` pixels around it, as a view of the image padded by `margin`."""
    spare = margin - block.radius
    rows = slice(block.top + spare, block.bottom + 2 * margin - spare)
    return padded[block.images, :, rows, spare : padded.shape[-1] - spare]


def _doubled_variance(sigma: Tensor) -> Tensor:
    return sigma.square().mul_(2).add_(_EPSILON[sigma.dtype])


def _axis_weights(sigma: Tensor, radius: int) -> list[Tensor]:
    """exp(-d^2 / v) for d = 1..radius, 0 beyond a pixel's own window; by recurrence, with one exponential."""
    if radius == 0:
        return []
    base = _doubled_variance(sigma).reciprocal_().neg_().exp_()
    square, reach = base.square(), SIGMAS_IN_WINDOW * sigma
    current, ratio = base, base * square
    weights = list(sigma.new_empty(radius, *sigma.shape))
    for d, weight in enumerate(weights, 1):
        # A sigma that is not a number shall show in the result: the comparison is false for it.
        torch.where(reach <= d - 1, current.new_zeros(()), current, out=weight)
        if d < radius:
            current.mul_(ratio)
            ratio.mul_(square)
    return weights


def _window_sum(sigma: Tensor, weights: list[Tensor], power: int = 0) -> Tensor:
    """Sum of d^power times the weights along one axis."""
    total = torch.full_like(sigma, 0.0**power)
    for d, weight in enumerate(weights, 1):
        total.add_(weight, alpha=2 * d**power)
    return total


def _gather(padded: Tensor, weights: list[Tensor], *, with_second_moment: bool) -> tuple[Tensor, Tensor | None]:
    """Unnormalized sums of x and, on demand, of r^2 x over each pixel's window."""
    radius = len(weights)
    height, width = (side - 2 * radius for side in padded.shape[-2:])
    total = torch.zeros_like(padded[..., :height, :width])
    moment = torch.zeros_like(total) if with_second_moment else None
    row_total, row_moment, pair = (torch.empty_like(total) for _ in range(3))
    for i, columns in enumerate(_folded(padded, radius, dim=-1)):
        row_total.copy_(columns.narrow(-2, radius, height))
        row_moment.zero_()
        for j, weight in enumerate(weights, 1):
            torch.add(columns.narrow(-2, radius - j, height), columns.narrow(-2, radius + j, height), out=pair)
            row_total.addcmul_(pair, weight)
            if moment is not None:
                row_moment.addcmul_(pair, weight, value=j * j)
        row_moment.add_(row_total, alpha=i * i)
        for whole, row in ((total, row_total), (moment, row_moment)):
            if whole is not None:
                whole.addcmul_(row, weights[i - 1]) if i else whole.copy_(row)
    return total, moment


def _scatter(grad: Tensor, weights: list[Tensor], padded: Tensor) -> None:
    """Adjoint of `_gather` in the image: add to the gradient of the padded block."""
    radius, (height, width) = len(weights), grad.shape[-2:]
    columns = grad.new_empty(*grad.shape[:-2], height + 2 * radius, width)
    for i in range(radius + 1):
        row_grad = grad if i == 0 else grad * weights[i - 1]
        columns.zero_().narrow(-2, radius, height).copy_(row_grad)
        for j, weight in enumerate(weights, 1):
            columns.narrow(-2, radius - j, height).addcmul_(row_grad, weight)
            columns.narrow(-2, radius + j, height).addcmul_(row_grad, weight)
        padded.narrow(-1, radius - i, width).add_(columns)
        if i:
            padded.narrow(-1, radius + i, width).add_(columns)


def _folded(padded: Tensor, radius: int, *, dim: int) -> Iterator[Tensor]:
    """The center, then the sums of the two views shifted by +-d for d = 1..radius, along one axis."""
    length = padded.shape[dim] - 2 * radius
    yield padded.narrow(dim, radius, length)
    for d in range(1, radius + 1):
        yield padded.narrow(dim, radius - d, length) + padded.narrow(dim, radius + d, length)


def _fold_border(padded: Tensor, margin: int, *, dim: int) -> Tensor:
    """Add the gradient of the replicated border to the edge that it repeats."""
    length = padded.shape[dim] - 2 * margin
    inner = padded.narrow(dim, margin, length).clone()
    if margin:
        inner.narrow(dim, 0, 1).add_(padded.narrow(dim, 0, margin).sum(dim, keepdim=True))
        inner.narrow(dim, length - 1, 1).add_(padded.narrow(dim, margin + length, margin).sum(dim, keepdim=True))
    return inner
