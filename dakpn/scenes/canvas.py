"""A canvas that draws the picture and its label with the same strokes, so that labels are exact."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.view import Point

Color = tuple[int, int, int]
UInt8Array = NDArray[np.uint8]

SUPERSAMPLING = 2
"""Everything is drawn at this multiple of the output size and averaged down."""


class Scene(NamedTuple):
    """A picture and its label.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        label: uint8 [H, W], ids of `RoadClass`.
    """

    image: UInt8Array
    label: UInt8Array


class Canvas:
    """Picture and label of `SUPERSAMPLING` times the size asked for, drawn in lockstep."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.height, self.width = SUPERSAMPLING * size[0], SUPERSAMPLING * size[1]
        self._picture = Image.new("RGB", (self.width, self.height))
        self._labels = Image.new("L", (self.width, self.height), int(RoadClass.VOID))
        self._pen = ImageDraw.Draw(self._picture)
        self._label_pen = ImageDraw.Draw(self._labels)

    def polygon(self, points: Sequence[Point], color: Color, road_class: RoadClass) -> None:
        """Fill a polygon given by image points (column, row)."""
        self._pen.polygon(points, fill=color)
        self._label_pen.polygon(points, fill=int(road_class))

    def ellipse(self, center: Point, radii: Point, color: Color, road_class: RoadClass, outline: float = 0) -> None:
        """Fill an upright ellipse, or draw only its rim where `outline` (pixels) is given."""
        (column, row), (across, down) = center, radii
        box = (column - across, row - down, column + across, row + down)
        if outline:
            rim = max(1, round(outline))
            self._pen.ellipse(box, outline=color, width=rim)
            self._label_pen.ellipse(box, outline=int(road_class), width=rim)
        else:
            self._pen.ellipse(box, fill=color)
            self._label_pen.ellipse(box, fill=int(road_class))

    def line(self, points: Sequence[Point], width: float, color: Color, road_class: RoadClass) -> None:
        """Draw a stroke of `width` pixels (at least one) through image points."""
        thickness = max(1, round(width))
        self._pen.line(points, fill=color, width=thickness, joint="curve")
        self._label_pen.line(points, fill=int(road_class), width=thickness, joint="curve")

    def stamp(self, corner: tuple[int, int], colors: NDArray, mask: NDArray[np.bool_], road_class: RoadClass) -> None:
        """Copy `colors` [h, w, 3] (0..255) to (left, top) wherever `mask` [h, w] holds."""
        stencil = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
        self._picture.paste(Image.fromarray(_to_uint8(colors)), corner, stencil)
        self._labels.paste(int(road_class), (*corner, corner[0] + mask.shape[1], corner[1] + mask.shape[0]), stencil)

    def cover(self, top: int, colors: NDArray, labels: UInt8Array) -> None:
        """Replace whole rows from `top` on by `colors` [h, W, 3] and `labels` [h, W]."""
        self._picture.paste(Image.fromarray(_to_uint8(colors)), (0, top))
        self._labels.paste(Image.fromarray(labels), (0, top))

    def finish(self) -> Scene:
        """Average the picture down; a label pixel takes the class that covers most of it."""
        return Scene(np.array(self._picture.reduce(SUPERSAMPLING)), _majority(np.asarray(self._labels)))


def _to_uint8(colors: NDArray) -> UInt8Array:
    return np.clip(colors, 0, 255).astype(np.uint8)


def _majority(labels: UInt8Array) -> UInt8Array:
    """Return the most frequent id of each 2 x 2 block; ties go to the block's first id in reading order."""
    first, second, third, fourth = labels[::2, ::2], labels[::2, 1::2], labels[1::2, ::2], labels[1::2, 1::2]
    first_repeats = (first == second) | (first == third) | (first == fourth)
    second_repeats = (second == third) | (second == fourth)
    return np.where(first_repeats, first, np.where(second_repeats, second, np.where(third == fourth, third, first)))
