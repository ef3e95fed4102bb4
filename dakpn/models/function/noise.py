"""Standard normal noise that is a pure function of (image key, draw, pixel): retries, threads and tiles agree."""

import functools
import hashlib
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
"""Constants of SplitMix64."""
_QUANTILES = 4096
_SHARE_BITS = 24
BITS_PER_CHANNEL = 21
"""Three channels share the 64 bits of one hash."""


def noise_seed(key: str, draw: int = 0) -> int:
    """64-bit seed of an image's noise, from its key and the number of the draw."""
    digest = hashlib.sha256(f"{draw}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@functools.cache
def normal_quantiles() -> np.ndarray:
    """float32 [4096]: midpoint quantiles of the normal distribution, scaled to unit variance."""
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)])
    return (quantiles / quantiles.std()).astype(np.float32)


def keyed_noise(
    seed: int,
    size: tuple[int, int],
    window: tuple[int, int, int, int] | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Noise of an image, or of a window of it, made on the device that will use it.

    A pixel's three values come from one SplitMix64 hash of (seed, pixel number), 12 bits each, through a table of
    quantiles. The same pixel has the same value in every window and on every device.

    Args:
        seed: from `noise_seed`.
        size: (H, W) of the whole image.
        window: (top, left, height, width) within it; the whole image by default.
        device: where the noise is wanted.

    Returns:
        float32 [3, height, width], mean 0 and variance 1, at most 3.7 in magnitude.
    """
    top, left, height, width = window or (0, 0, *size)
    rows = torch.arange(top, top + height, device=device)[:, None]
    columns = torch.arange(left, left + width, device=device)[None, :]
    state = (rows * size[1] + columns).add_(1).mul_(_signed(GOLDEN)).add_(_signed(seed))
    return _normal_values(state)


def seeded_noise(seeds: Tensor, size: tuple[int, int]) -> Tensor:
    """Noise of several images at once, that of each a function of its own seed alone.

    So two workers with half a batch each draw what one worker draws for the whole.

    Args:
        seeds: int64 [B].
        size: (H, W) of the images.

    Returns:
        float32 [B, 3, H, W] on the device of the seeds; image b equals `keyed_noise(seeds[b], size)`.
    """
    pixels = torch.arange(1, size[0] * size[1] + 1, device=seeds.device).mul_(_signed(GOLDEN))
    state = pixels.view(size)[None] + seeds.view(-1, 1, 1)
    return _normal_values(state).movedim(0, 1)


def seeded_shares(seeds: Tensor, numbers: tuple[int, ...]) -> Tensor:
    """Even random numbers of several images, those of each a function of its own seed alone and of no pixel's noise.

    Args:
        seeds: int64 [B].
        numbers: which of an image's random numbers, 0 and above; the same one is the same wherever it stands.

    Returns:
        float32 [B, n] in 0..1 on the device of the seeds.
    """
    state = _states_on(numbers, seeds.device) + seeds.view(-1, 1)
    return (_mixed(state) >> (64 - _SHARE_BITS)).bitwise_and_((1 << _SHARE_BITS) - 1).float().div_(1 << _SHARE_BITS)


def signed_seed(seed: int) -> int:
    """A 64-bit seed as torch's int64 has it, for `seeded_noise` and `seeded_shares`."""
    return _signed(seed)


def _normal_values(state: Tensor) -> Tensor:
    """Noise float32 [3, ...] of the states int64 [...] of SplitMix64, which are overwritten."""
    state = _mixed(state)
    quantiles = _quantiles_on(state.device)
    return torch.stack([quantiles[(state >> BITS_PER_CHANNEL * c).bitwise_and_(_QUANTILES - 1)] for c in range(3)])


def _mixed(state: Tensor) -> Tensor:
    """The hash of states int64 of SplitMix64, which are overwritten."""
    state.bitwise_xor_(_shifted_right(state, 30)).mul_(_signed(MIX_1))
    state.bitwise_xor_(_shifted_right(state, 27)).mul_(_signed(MIX_2))
    return state.bitwise_xor_(_shifted_right(state, 31))


@functools.lru_cache(maxsize=64)
def _states_on(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """What is added to a seed for these random numbers; noise takes the pixels from 1 on, so 0 and below are free."""
    with torch.inference_mode(mode=False):
        return torch.tensor([_signed(-number * int(GOLDEN)) for number in numbers]).to(device)


@functools.lru_cache(maxsize=16)
def _quantiles_on(device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):  # a tensor of inference could never take part in training
        return torch.from_numpy(normal_quantiles()).to(device)


def _signed(value: int | np.uint64) -> int:
    """The same 64 bits as torch counts them; its products wrap alike."""
    return (int(value) + (1 << 63)) % (1 << 64) - (1 << 63)


def _shifted_right(state: Tensor, bits: int) -> Tensor:
    """Shift that fills with zeros, whatever the sign."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)
