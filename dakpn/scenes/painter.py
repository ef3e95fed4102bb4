"""The painter: everything an object of the street needs to draw itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dakpn.scenes.canvas import Canvas
from dakpn.scenes.classes import RoadClass
from dakpn.scenes.light import TO_CAMERA, Light, Vector
from dakpn.scenes.looks import Palette, Rgb, Swatches, pick_color
from dakpn.scenes.noise import NoiseTile
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.view import Point, View

StreetPoint = tuple[float, float, float]


@dataclass(frozen=True)
class Painter:
    """One scene's canvas, view, light and materials.

    `rng` decides appearance only. Whatever shapes the label is part of the street's plan, so that the same
    plan gives the same label under every look.
    """

    canvas: Canvas
    view: View
    light: Light
    palette: Palette
    rng: np.random.Generator
    noise: NoiseTile
    shadows: Shadows

    def pick(self, swatches: Swatches) -> Rgb:
        """Draw a color [3] in 0..255 for one object."""
        return pick_color(swatches, self.rng)

    def face(
        self,
        corners: Sequence[StreetPoint],
        color: Rgb,
        normal: Vector,
        road_class: RoadClass,
        strength: float = 1.0,
    ) -> None:
        """Fill a flat polygon of the street."""
        depth = sum(z for _, _, z in corners) / len(corners)
        outline = [self.view.project(*corner) for corner in corners]
        self.canvas.polygon(outline, self.light.shade(color, normal, depth, strength), road_class)

    def upright(self, x: float, z: float, road_class: RoadClass) -> "Upright":
        """Return a plane facing the camera at (x, z), to draw thin objects on."""
        return Upright(self, x, z, road_class)


class Upright:
    """A sheet facing the camera; its coordinates are meters right of its foot and above the ground."""

    def __init__(self, painter: Painter, x: float, z: float, road_class: RoadClass) -> None:
        self._painter, self._z, self._class = painter, z, road_class
        self._foot = painter.view.project(x, 0, z)
        self._strength = painter.shadows.light_at(x, z)
        self.scale = painter.view.pixels_per_metre(z)

    def polygon(self, points: Sequence[Point], color: Rgb, strength: float = 1.0) -> None:
        """Fill a polygon."""
        self._painter.canvas.polygon([self._place(p) for p in points], self._shade(color, strength), self._class)

    def rectangle(self, low: Point, high: Point, color: Rgb, strength: float = 1.0) -> None:
        """Fill an upright rectangle between two opposite corners."""
        (left, bottom), (right, top) = low, high
        self.polygon([(left, bottom), (left, top), (right, top), (right, bottom)], color, strength)

    def limb(self, points: Sequence[Point], width: float, color: Rgb, strength: float = 1.0) -> None:
        """Draw a stroke `width` meters thick."""
        placed = [self._place(p) for p in points]
        self._painter.canvas.line(placed, width * self.scale, self._shade(color, strength), self._class)

    def disc(self, center: Point, radii: Point, color: Rgb, strength: float = 1.0) -> None:
        """Fill an ellipse."""
        across, down = radii[0] * self.scale, radii[1] * self.scale
        self._painter.canvas.ellipse(self._place(center), (across, down), self._shade(color, strength), self._class)

    def ring(self, center: Point, radii: Point, width: float, color: Rgb) -> None:
        """Draw the rim of an ellipse `width` meters thick."""
        across, down = radii[0] * self.scale, radii[1] * self.scale
        self._painter.canvas.ellipse(
            self._place(center),
            (across, down),
            self._shade(color, 1.0),
            self._class,
            outline=width * self.scale,
        )

    def _place(self, point: Point) -> Point:
        return self._foot[0] + point[0] * self.scale, self._foot[1] - point[1] * self.scale

    def _shade(self, color: Rgb, strength: float) -> tuple[int, int, int]:
        return self._painter.light.shade(color, TO_CAMERA, self._z, strength * self._strength)


class StreetObject(Protocol):
    """Something that stands in the street."""

    @property
    def distance(self) -> float:
        """Metres ahead; objects are drawn from the farthest to the nearest."""
        ...

    def cast_shadow(self, shadows: Shadows) -> None:
        """Add this object's shadow to the ground."""
        ...

    def draw(self, painter: Painter) -> None:
        """Draw this object and its label."""
        ...
