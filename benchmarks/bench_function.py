"""The translation function against its literal formulation: forward, forward + backward, peak memory."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.literal import TILES, literal_translation, tile_size
from benchmarks.measure import Claim, alternate, at_least, at_most, peak_bytes
from benchmarks.recipes import shipped_translator, wide_params
from benchmarks.scenes import GTA5, PREDICTION, function, image, params
from dakpn.models.function.apply import translate_fused, translate_image, translate_tiled
from dakpn.models.function.noise import noise_seed
from dakpn.models.function.translation import upsample_params

_ROUNDS = 5
_SIGMAS = (1.0, 2.0, 4.0)
_LARGEST_SIGMA = _SIGMAS[-1]
_SEED = noise_seed("benchmark")


def run() -> Iterator[Claim]:
    """Full-res ratios; the literal form's time is its median tile times the 64 tiles of an image."""
    torch.set_num_threads(1)
    for recipe in ("gta5_cityscapes", "gta5_cityscapes_paper"):
        yield from _shipped(recipe)
    for sigma in _SIGMAS:
        yield from _whole_image(sigma)
    yield from _patch_gradients()
    yield from _memory()


def _shipped(recipe: str) -> Iterator[Claim]:
    """The stages of a shipped recipe, as a job runs them, with params over the whole of their bounds."""
    translator = shipped_translator(recipe)
    stages, theta = translator.predictor.function, wide_params(translator)
    seconds = alternate(
        {
            "literal tile": partial(_literal_tile, 1.0),
            "fused": lambda: translate_image(stages, image(), theta, _SEED),
            "torch": lambda: translate_tiled(stages, image(), theta, _SEED),
        },
        _ROUNDS,
    )
    literal = TILES * TILES * seconds["literal tile"]
    details = {"literal_s": literal, "fused_s": seconds["fused"], "torch_s": seconds["torch"]}
    yield at_least(f"{recipe} as shipped vs the paper's literal form", 500, literal / seconds["fused"], **details)
    yield at_least(f"{recipe} as shipped, fused vs torch form", 6, seconds["torch"] / seconds["fused"], **details)


def _whole_image(sigma: float) -> Iterator[Claim]:
    seconds = alternate(
        {
            "literal tile": partial(_literal_tile, sigma),
            "fused": partial(_fused, sigma),
            "torch": partial(_tiled, sigma),
        },
        _ROUNDS,
    )
    literal = TILES * TILES * seconds["literal tile"]
    details = {"literal_s": literal, "fused_s": seconds["fused"], "torch_s": seconds["torch"], "sigma_up_to": sigma}
    yield at_least(f"fused function vs literal form, sigma <= {sigma:g}", 500, literal / seconds["fused"], **details)
    yield at_least(f"torch function vs literal form, sigma <= {sigma:g}", 80, literal / seconds["torch"], **details)


def _patch_gradients() -> Iterator[Claim]:
    work = {"literal": partial(_gradients, literal=True), "ours": partial(_gradients, literal=False)}
    seconds = alternate(work, 3)
    ratio = seconds["literal"] / seconds["ours"]
    yield at_least("torch function vs literal form, forward + backward", 100, ratio, **seconds, patch=tile_size(GTA5))


def _memory() -> Iterator[Claim]:
    literal = peak_bytes(partial(_literal_tile, _LARGEST_SIGMA), partial(_inputs, _LARGEST_SIGMA))
    for name, work in (("fused", _fused), ("torch", _tiled)):
        ours = peak_bytes(partial(work, _LARGEST_SIGMA), partial(_inputs, _LARGEST_SIGMA))
        details = {"ours_bytes": ours, "literal_bytes": literal}
        yield at_most(f"peak memory, {name} whole image vs one literal tile", 1 / 8, ours / literal, **details)


def _inputs(sigma: float) -> None:
    image()
    params(sigma)
    torch.rand(1, 3, 8, 8).sqrt()
    translate_fused(function(sigma), image((16, 16)), params(sigma), _SEED)


def _fused(sigma: float) -> None:
    translate_fused(function(sigma), image(), params(sigma), _SEED, max_pixels_in_flight=500_000)


def _tiled(sigma: float) -> None:
    translate_tiled(function(sigma), image(), params(sigma), _SEED, max_pixels_in_flight=250_000)


def _literal_tile(sigma: float) -> None:
    with torch.inference_mode():
        literal_translation(*_tile(sigma))


def _tile(sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    height, width = tile_size(GTA5)
    pixels = torch.from_numpy(image()[:height, :width].copy()).permute(2, 0, 1)[None].float().div(255)
    low_height, low_width = tile_size(PREDICTION)
    return pixels, params(sigma)[..., :low_height, :low_width], torch.randn_like(pixels)


def _gradients(*, literal: bool) -> None:
    pixels, theta, noise = _tile(1.0)
    pixels.requires_grad_()
    theta = theta.clone().requires_grad_()
    if literal:
        output = literal_translation(pixels, theta, noise)
    else:
        output = function(1.0).apply(pixels, upsample_params(theta, tuple(pixels.shape[-2:])), noise)
    output.square().mean().backward()
