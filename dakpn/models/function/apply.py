"""Apply the translation function to whole images of any size in bounded memory, uint8 in and uint8 out.

Two forms give the same image to half a grey level: the fused CPU kernels, and the torch form in tiles for other stages,
other devices and machines without numba. In both, a pixel does not depend on the tiles, bands or threads: tiled equals
untiled to the last bit.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.errors import WeightsError
from dakpn.models.function.fused_plan import fused_plan, why_not_fused
from dakpn.models.function.noise import keyed_noise, normal_quantiles
from dakpn.models.function.translation import TranslationFunction, Window, upsample_params

try:
    from dakpn.models.function import fused_kernels
except ImportError:  # numba is optional where it has no build
    fused_kernels = None

DEFAULT_PIXELS_IN_FLIGHT = 4_000_000
"""About 100 MB of buffers in the fused form, 1 GB in the torch form."""
_SMALLEST_BAND = 16


def can_fuse(function: TranslationFunction) -> bool:
    """Whether the fused kernels compute exactly these stages."""
    return fused_kernels is not None and why_not_fused(function) is None


def translate_image(
    function: TranslationFunction,
    image: NDArray[np.uint8],
    params: Tensor,
    seed: int,
    *,
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Translate one image.

    Args:
        function: the translation function.
        image: uint8 [H, W, 3], any size.
        params: low-res params float32 [1, P, h, w] inside their bounds. Their device decides where the work is done.
        seed: Seed of the noise, from `noise_seed`.
        max_pixels_in_flight: bounds the memory beside input and output.
        threads: for the fused form.

    Returns:
        uint8 [H, W, 3].

    Raises:
        WeightsError: a param is not finite.
    """
    if not math.isfinite(float(params.sum())):  # one number shows it if any is not
        raise WeightsError(
            "the predicted params are not finite; expected numbers: the weights are damaged, train again"
        )
    if params.device.type == "cpu" and can_fuse(function):
        return translate_fused(
            function, image, params, seed, max_pixels_in_flight=max_pixels_in_flight, threads=threads
        )
    return translate_tiled(function, image, params, seed, max_pixels_in_flight=max_pixels_in_flight)


def translate_tiled(
    function: TranslationFunction,
    image: NDArray[np.uint8],
    params: Tensor,
    seed: int,
    *,
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT,
) -> NDArray[np.uint8]:
    """The torch form, tile by tile; arguments as for `translate_image`."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(params.device)
    output = translate_on_device(function, pixels, params, seed, max_pixels_in_flight=max_pixels_in_flight)
    return output.cpu().numpy()


def translate_on_device(
    function: TranslationFunction,
    image: Tensor,
    params: Tensor,
    seed: int,
    *,
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT,
) -> Tensor:
    """The torch form of an image uint8 [H, W, 3] that is on the device of the params already, and stays there.

    Other arguments as for `translate_image`. Nothing here waits for the device.
    """
    output = torch.empty_like(image)
    with torch.inference_mode():
        for tile in _tiles((image.shape[0], image.shape[1]), max_pixels_in_flight):
            top, left, height, width = tile
            output[top : top + height, left : left + width] = _translate_tile(function, image, params, seed, tile)
    return output


def translate_fused(
    function: TranslationFunction,
    image: NDArray[np.uint8],
    params: Tensor,
    seed: int,
    *,
    max_pixels_in_flight: int = DEFAULT_PIXELS_IN_FLIGHT,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """The fused CPU form, band by band, of stages for which `can_fuse` holds.

    Arguments as for `translate_image`.
    """
    kernels = fused_kernels
    reason = why_not_fused(function)
    if kernels is None or reason is not None:
        raise RuntimeError(f"these stages have no fused form ({reason}); call translate_image, which takes the other")
    plan = fused_plan(function)
    height, width = image.shape[:2]
    image = np.ascontiguousarray(image)
    low = np.ascontiguousarray(params[0].numpy(), dtype=np.float32)
    before, local, after = np.split(low, np.cumsum(plan.params[:2]))
    grid = (*_axis(low.shape[1], height), *_axis(low.shape[2], width))
    noise = (np.uint64(seed), normal_quantiles())
    output = np.empty_like(image)
    band = min(height, max(_SMALLEST_BAND, max_pixels_in_flight // width))
    buffer = np.empty((3, *kernels.buffer_size(band, plan.radius, width)), np.float32)

    def color(lines: tuple[int, int]) -> None:
        kernels.color_rows(image, plan.before, before, grid, lines, top - plan.radius, *noise, buffer)

    def finish(lines: tuple[int, int]) -> None:
        kernels.finish_rows(
            plan.local, plan.radius, plan.after, local, after, grid, lines, top - plan.radius, *noise, buffer, output
        )

    for top in range(0, height, band):
        bottom = min(top + band, height)
        _in_threads(color, 0, bottom - top + 2 * plan.radius, threads)
        _in_threads(finish, top, bottom, threads)
    return output


class _Axis(NamedTuple):
    """For each full-res position, the lower low-res one and the fraction towards the next."""

    lower: NDArray[np.int64]
    fraction: NDArray[np.float32]


def _axis(low: int, full: int) -> _Axis:
    source = ((np.arange(full) + 0.5) * (low / full) - 0.5).clip(0, low - 1)
    lower = np.floor(source).astype(np.int64)
    return _Axis(lower, (source - lower).astype(np.float32))


def _in_threads(work, start: int, stop: int, threads: int) -> None:
    """Run `work((first, last))` on equal parts of a range of rows; the kernels release the interpreter lock."""
    if threads <= 1:
        work((start, stop))
        return
    edges = np.linspace(start, stop, threads + 1).round().astype(int).tolist()
    list(_thread_pool(threads).map(work, pairwise(edges)))


@cache
def _thread_pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="translate")


def _tiles(size: tuple[int, int], max_pixels: int) -> list[Window]:
    """(top, left, height, width) of tiles that cover the image and hold about `max_pixels` at most.

    Square ones share the least surroundings, and equal ones leave no sliver at the end.
    """
    side = max(_SMALLEST_BAND, math.isqrt(max_pixels))
    rows, columns = (_equal_parts(length, side) for length in size)
    return [(top, left, bottom - top, right - left) for top, bottom in rows for left, right in columns]


def _equal_parts(length: int, largest: int) -> list[tuple[int, int]]:
    count = -(-length // largest)
    return list(pairwise(length * n // count for n in range(count + 1)))


def _translate_tile(function: TranslationFunction, image: Tensor, params: Tensor, seed: int, tile: Window) -> Tensor:
    """Translate a tile uint8 [height, width, 3] with the surroundings that it depends on, and cut them off."""
    size, radius = (image.shape[0], image.shape[1]), function.radius
    top, left, height, width = tile
    outer_top, outer_left = max(top - radius, 0), max(left - radius, 0)
    outer_bottom, outer_right = min(top + height + radius, size[0]), min(left + width + radius, size[1])
    outer = (outer_top, outer_left, outer_bottom - outer_top, outer_right - outer_left)
    pixels = image[outer_top:outer_bottom, outer_left:outer_right].permute(2, 0, 1)[None].float().div(255)
    noise = keyed_noise(seed, size, outer, params.device)[None]
    translated = function.apply(pixels, upsample_params(params, size, outer), noise)[0]
    inner = translated[:, top - outer_top :, left - outer_left :][:, :height, :width]
    return (inner * 255).round().to(torch.uint8).permute(1, 2, 0)
