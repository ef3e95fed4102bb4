"""The style bank: color moments of real images, and the affine that takes a synthetic image to one of them.

Real images differ by weather and exposure; one look for all loses that variety. Matching color moments is an affine of
each pixel by itself, so it is a stage of the translation function like any other and moves nothing.
"""

import hashlib
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from dakpn.config import StyleConfig
from dakpn.models.function.color import rgb_to_lab

_SMALLEST_SPREAD = 0.02
"""In l-alpha-beta; a flatter region would be stretched by its rounding errors."""
SMALLEST_MASS = 1e-5
"""Share of an image below which a class has no moments."""


class ColorMoments(NamedTuple):
    """Moments of images in l-alpha-beta: of all pixels, and of each class.

    Attributes:
        mean, spread: [B, 3].
        class_mass: [B, C], the share of pixels, 0..1.
        class_mean, class_spread: [B, C, 3].
    """

    mean: Tensor
    spread: Tensor
    class_mass: Tensor
    class_mean: Tensor
    class_spread: Tensor

    def flat(self) -> Tensor:
        """All of them, one after the other: [B, 6 + 7 C]."""
        return torch.cat([values.flatten(1) for values in self], 1)

    @classmethod
    def from_flat(cls, values: Tensor) -> Self:
        """The moments that `flat` gave. Raises `ValueError` for another number of values."""
        classes, rest = divmod(values.shape[1] - 6, 7)
        if classes < 1 or rest:
            raise ValueError(f"got {values.shape[1]} values, expected 6 and 7 for each class")
        parts = values.split((3, 3, classes, 3 * classes, 3 * classes), 1)
        return cls(*parts[:3], *(part.unflatten(1, (classes, 3)) for part in parts[3:]))


def color_moments(images: Tensor, classes: Tensor) -> ColorMoments:
    """Moments of images float [B, 3, h, w] in 0..1, given their class map [B, C, h, w] of shares in 0..1."""
    lab = rgb_to_lab(images).flatten(2)
    shares = classes.flatten(2)
    mass = shares.mean(2)
    weights = shares / (shares.sum(2, keepdim=True) + SMALLEST_MASS * shares.shape[2])
    class_mean = weights @ lab.transpose(1, 2)
    # Centerd, for a difference of squares would lose the spread of a dark, flat class to rounding.
    deviation = lab[:, None] - class_mean[..., None]
    class_spread = torch.einsum("bcn,bckn->bck", weights, deviation.square()).sqrt()
    return ColorMoments(lab.mean(2), lab.std(2, correction=0), mass, class_mean, class_spread)


class StyleBank(nn.Module):
    """Color moments of K real images, kept in the weights.

    Args:
        entries: K.
        num_classes: C.
    """

    def __init__(self, entries: int, num_classes: int) -> None:
        super().__init__()
        shapes = ((3,), (3,), (num_classes,), (num_classes, 3), (num_classes, 3))
        for name, shape in zip(ColorMoments._fields, shapes, strict=True):
            self.register_buffer(name, torch.zeros(entries, *shape))

    def __len__(self) -> int:
        """Number of entries K."""
        return len(self.get_buffer("mean"))

    def fill(self, moments: ColorMoments) -> None:
        """Overwrite the bank with the moments of K real images."""
        for name, values in zip(ColorMoments._fields, moments, strict=True):
            self.get_buffer(name).copy_(values)

    def forward(self, entries: Tensor) -> ColorMoments:
        """The moments of entries int64 [B], each taken modulo K."""
        numbers = entries.remainder(len(self))
        return ColorMoments(*(self.get_buffer(name)[numbers] for name in ColorMoments._fields))


def affine_towards(style: ColorMoments, own: ColorMoments, classes: Tensor, config: StyleConfig) -> Tensor:
    """Params of a `LabAffine` stage that move images to a style's moments.

    The gain is the ratio of spreads, bounded; the bias moves the mean. A class goes to its own moments in the style as
    far as the style has enough of it, and to the whole image's otherwise; so do pixels without a class.

    Args:
        style: the moments to reach, one entry an image.
        own: the moments of the images to be moved.
        classes: [B, C, h, w], shares in 0..1 that sum to at most 1; the class map that `own` was taken with.
        config: kind `global` or `class`.

    Returns:
        [B, 6, h, w]: three gains, three biases.
    """
    whole, apart = class_affines(style, own, config)
    everywhere = whole[..., None, None]
    if apart is None:
        return everywhere.expand(-1, -1, *classes.shape[-2:])
    return everywhere + torch.einsum("bchw,bcp->bphw", classes, apart)


def class_affines(style: ColorMoments, own: ColorMoments, config: StyleConfig) -> tuple[Tensor, Tensor | None]:
    """The affine [B, 6] of whole images, and how far those of the classes [B, C, 6] are from it; None: not at all.

    As differences, so that pixels without a class keep the whole image's. Arguments as for `affine_towards`.
    """
    whole = _matching(own.mean, own.spread, style.mean, style.spread, config)
    if config.kind == "global":
        return whole, None
    of_class = _matching(own.class_mean, own.class_spread, style.class_mean, style.class_spread, config)
    trust = (style.class_mass / (style.class_mass + config.scarce_mass))[..., None]
    of_class = trust * of_class + (1 - trust) * whole[:, None]
    return whole, of_class - whole[:, None]


class Look(NamedTuple):
    """What is drawn for one image.

    Attributes:
        style: number of the bank's entry; any number, it is taken modulo K.
        refinement: strength of the head's params on top, 0..1.
    """

    style: int
    refinement: float


def drawn_look(key: str, draw: int, refinement: tuple[float, float]) -> Look:
    """The look of an image: a pure function of its key and the number of the draw.

    `refinement` is the range from which the strength is taken, evenly.
    """
    digest = hashlib.sha256(f"look:{draw}:{key}".encode()).digest()
    style, share = (int.from_bytes(part, "little") for part in (digest[:7], digest[8:15]))
    low, high = refinement
    return Look(style, low + (high - low) * share / 2**56)


def _matching(mean: Tensor, spread: Tensor, new_mean: Tensor, new_spread: Tensor, config: StyleConfig) -> Tensor:
    gain = (new_spread / spread.clamp(min=_SMALLEST_SPREAD)).clamp(1 / config.max_gain, config.max_gain)
    return torch.cat((gain, new_mean - gain * mean), -1)
