"""Random views of a labelled image: scale, crop and flip, then brightness, contrast, saturation and hue.

What a view shows is a function of `DRAWS` numbers in 0..1, by one definition for whoever applies it:
`Augmentation.view` here for one image of a user's dataset in a loader's worker, `dakpn.segmentation.task.augment` for a
batch on a training's device. The arithmetic that both share takes numpy's arrays and torch's tensors alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dakpn.images import codec

Pixels = NDArray[np.uint8]
Ids = NDArray[np.uint8] | NDArray[np.uint16]

DRAWS = 9
"""Uniform numbers that a view is made from, as many for every image."""
BORDER = 0.5
"""What an image shows where a view reaches beyond it, of 0..1; networks get about 0 there after their normalization."""


class Window(NamedTuple):
    """The part of an image that a view shows, in coordinates of -1..1 from edge to edge.

    Attributes:
        height, width: half of the view's: 0.5 each shows a quarter of the image, 2 the image within a border.
        down, right: its center.
        direction: 1, or -1 if it is mirrored.
    """

    height: Any
    width: Any
    down: Any
    right: Any
    direction: Any


class Tones(NamedTuple):
    """How a view's colors change, in the order of application; see `distorted`."""

    brightness: Any
    first_contrast: Any
    saturation: Any
    hue: Any
    last_contrast: Any


@dataclass(frozen=True)
class Augmentation:
    """How far a view may be from its image. All draws are uniform.

    Attributes:
        flip: Share of the views that are mirrored, 0..1.
        scale: From what to what factor an image is enlarged or shrunk before it is cropped to its size at a random
            place, or laid into it; what it leaves is grey and ignored.
        brightness: Added to all channels, from -x to x of their range.
        contrast, saturation: A factor from 1 - x to 1 + x each, 0 <= x <= 1.
        hue: Turned by -x to x of the circle of colors, at most 0.5.
        tones: Share of the views in which each of these four changes; contrast comes first or last, at random.

    Source: the tones are those of mmsegmentation's PhotoMetricDistortion, without its rounding to whole degrees. Its
    scales are 0.5 to 2; within a few hundred steps the narrower range trains better.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.75, 1.5)
    brightness: float = 32 / 255
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.1
    tones: float = 0.5

    def view(
        self,
        image: Pixels,
        label: Ids | None,
        size: tuple[int, int] | None,
        rng: np.random.Generator,
        ignore_id: int = 255,
    ) -> tuple[Pixels, Ids | None]:
        """Return a random view of an image and its label.

        An image with more pixels than the view needs is shrunk to what it needs, each pixel counting; all else is
        bilinear, and labels take the nearest pixel.

        Args:
            image: [H, W, 3].
            label: [H, W]; None without a label.
            size: (h, w) of the view; None keeps (H, W).
            rng: The only source of chance; as many numbers are drawn for every image.
            ignore_id: What the label says beyond the image.
        """
        draws = rng.random(DRAWS, np.float32)
        window, size = self.window(draws), size or image.shape[:2]
        height, width = (
            min(there, math.ceil(side * max(1.0, 1 / float(half))))
            for there, side, half in zip(image.shape[:2], size, (window.height, window.width), strict=True)
        )
        base = image if image.shape[:2] == (height, width) else codec.resize_image(image, (height, width))
        rows = _positions(size[0], base.shape[0], window.height, window.down)
        columns = _positions(size[1], base.shape[1], window.width * window.direction, window.right)
        shown = _bilinear(base, rows, columns)
        if self.recolors:
            channels = (np.ascontiguousarray(shown[..., i]) / np.float32(255) for i in range(3))
            shown = np.stack(distorted(channels, self.drawn_tones(draws), np), -1) * np.float32(255)
        shown = shown.round().astype(np.uint8)
        outside = np.logical_or.outer(_outside(rows, base.shape[0]), _outside(columns, base.shape[1]))
        shown[outside] = round(255 * BORDER)
        if label is None:
            return shown, None
        rows = _positions(size[0], label.shape[0], window.height, window.down)
        columns = _positions(size[1], label.shape[1], window.width * window.direction, window.right)
        ids = label[np.ix_(*(_nearest(p, side) for p, side in zip((rows, columns), label.shape, strict=True)))]
        ids[outside] = ignore_id
        return shown, ids

    def window(self, draws: Any, shares: tuple[float, float] = (1.0, 1.0)) -> Window:
        """What the views of these draws show, [DRAWS] or [DRAWS, B].

        `shares` are the view's height and width as shares of the image's, where nothing is enlarged or shrunk.
        """
        lowest, highest = self.scale
        side = 1 / (lowest + (highest - lowest) * draws[0])
        height, width = (side * share for share in shares)
        down, right = ((1 - half) * (2 * place - 1) for half, place in zip((height, width), draws[1:3], strict=True))
        return Window(height, width, down, right, 2 * (draws[3] >= self.flip) - 1)

    def drawn_tones(self, draws: Any) -> Tones:
        """How the colors of the views of these draws change, [DRAWS] or [DRAWS, B]."""
        share = max(self.tones, 1e-9)
        brightness, contrast, saturation, hue = (
            most * (2 * draw / share - 1) * (draw < share)
            for most, draw in zip((self.brightness, self.contrast, self.saturation, self.hue), draws[4:8], strict=True)
        )
        first, last = (contrast * chosen for chosen in (draws[8] < 0.5, draws[8] >= 0.5))
        return Tones(brightness, 1 + first, 1 + saturation, hue, 1 + last)

    def describe(self) -> str:
        """What is drawn for each view, in words for people."""
        lowest, highest = self.scale
        return (
            f"scale {lowest:g} to {highest:g}, cropped or within an ignored border; {self.flip:.0%} mirrored; each in "
            f"{self.tones:.0%} of the views: brightness +-{self.brightness:.2f}, contrast and saturation "
            f"+-{self.contrast:.0%} and +-{self.saturation:.0%}, hue +-{360 * self.hue:.0f} degrees"
        )

    @property
    def recolors(self) -> bool:
        """Whether any view's colors change."""
        return self.tones > 0 and any((self.brightness, self.contrast, self.saturation, self.hue))


STANDARD = Augmentation()
"""What segmentation networks are usually trained with."""
AUGMENTATIONS = {"standard": STANDARD, "none": None}
"""By their names in configs; none: every image as it is."""


def distorted(channels: Iterable[Any], tones: Tones, arrays: Any) -> tuple[Any, Any, Any]:
    """Return red, green and blue in other tones.

    Args:
        channels: Red, green and blue, float in 0..1, of any shape.
        tones: Numbers, or tensors that broadcast against the channels.
        arrays: The library of the channels, `numpy` or `torch`.
    """
    red, green, blue = (
        arrays.clip(arrays.clip(channel + tones.brightness, 0, 1) * tones.first_contrast, 0, 1) for channel in channels
    )
    # Saturation and hue as of HSV: value stays, chroma is its distance to the least channel.
    value = arrays.maximum(arrays.maximum(red, green), blue)
    chroma = value - arrays.minimum(arrays.minimum(red, green), blue)
    safe = arrays.where(chroma > 0, chroma, arrays.ones_like(chroma))
    hue = arrays.where(
        value == red,
        (green - blue) / safe,
        arrays.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * tones.hue
    chroma = arrays.minimum(chroma * tones.saturation, value)
    turned = ((hue + offset) % 6 for offset in (5, 3, 1))
    shown = (value - chroma * arrays.clip(arrays.minimum(place, 4 - place), 0, 1) for place in turned)
    red, green, blue = (arrays.clip(channel * tones.last_contrast, 0, 1) for channel in shown)
    return red, green, blue


def _positions(count: int, length: int, step: Any, center: Any) -> NDArray[np.float32]:
    """Where the pixels of a view lie in an image, in its pixels."""
    places = (2 * np.arange(count, dtype=np.float32) + 1) / count - 1
    return (((step * places + center + 1) * length - 1) / 2).astype(np.float32)


def _outside(positions: NDArray[np.float32], length: int) -> NDArray[np.bool_]:
    return (positions < -0.5) | (positions > length - 0.5)


def _nearest(positions: NDArray[np.float32], length: int) -> NDArray[np.intp]:
    return np.rint(positions).astype(np.intp).clip(0, length - 1)


def _bilinear(image: Pixels, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float [h, w, 3] in 0..255, edges repeated."""
    shown = image
    for axis, positions in enumerate((rows, columns)):
        positions = positions.clip(0, image.shape[axis] - 1)
        before = np.floor(positions).astype(np.intp)
        after = np.minimum(before + 1, image.shape[axis] - 1)
        share = (positions - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first = shown.take(before, axis).astype(np.float32)
        shown = first + share * (shown.take(after, axis) - first)
    return shown.astype(np.float32, copy=False)
