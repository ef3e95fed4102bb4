"""Shadows on the ground: what the sun casts, and the dark contact below vehicles."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from dakpn.scenes.light import Light
from dakpn.scenes.view import NEAREST, FloatArray, Point, View

_CONTACT_DARKNESS = 0.62
_SOFTNESS = 1.3
"""Blur of the sun's shadows in pixels of the supersampled picture."""

_STEP = 6.0
"""Metres after which an edge is divided, so that shadows follow the bend of the road."""


class Shadows:
    """Collects shadows as polygons on the ground before the ground is painted."""

    def __init__(self, view: View, light: Light) -> None:
        self._view, self._light = view, light
        size = (view.width, view.height)
        self._buildings, self._objects, self._contacts = (Image.new("L", size) for _ in range(3))
        direct, ambient = float(light.on((0.0, 1.0, 0.0)).mean()), float(light.ambient.mean())
        self._sun_darkness = round(255 * max(0.0, 1 - ambient / direct))

    def cast_building(self, footprint: Sequence[Point], height: float) -> None:
        """Cast the shadow of an upright block with corners (x, z) in meters."""
        self._fill(self._buildings, _convex_hull(self._swept(footprint, 0, height)), self._sun_darkness)

    def cast_block(self, footprint: Sequence[Point], bottom: float, top: float) -> None:
        """Cast the shadow of a block that spans the heights `bottom`..`top`."""
        self._fill(self._objects, _convex_hull(self._swept(footprint, bottom, top)), self._sun_darkness)

    def cast_ball(self, x: float, y: float, z: float, radius: float) -> None:
        """Cast the shadow of a ball, e.g. a tree crown, centerd `y` meters above the ground."""
        shift_x, shift_z = self._light.shadow_offset(y)
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        outline = [(x + shift_x + radius * np.cos(a), z + shift_z + radius * np.sin(a)) for a in angles]
        self._fill(self._objects, outline, self._sun_darkness)

    def cast_stick(self, x: float, z: float, height: float, width: float) -> None:
        """Cast the shadow of something thin and upright."""
        half = width / 2
        self.cast_block([(x - half, z), (x + half, z), (x, z - half), (x, z + half)], 0, height)

    def touch(self, footprint: Sequence[Point]) -> None:
        """Darken the ground right under an object, whatever the weather."""
        self._fill(self._contacts, list(footprint), round(255 * _CONTACT_DARKNESS))

    def remaining_light(self) -> FloatArray:
        """Return the light on the ground, relative to an open place: [R, W] below the horizon, 0..1."""
        sun = ImageChops.lighter(self._buildings, self._objects).filter(ImageFilter.GaussianBlur(_SOFTNESS))
        darkness = ImageChops.lighter(sun, self._contacts.filter(ImageFilter.GaussianBlur(2 * _SOFTNESS)))
        return 1 - np.asarray(darkness, np.float32)[self._view.first_ground_row() :] / 255

    def light_at(self, x: float, z: float) -> float:
        """Return the light of an object standing at (x, z) beside the buildings, 0..1."""
        column, row = (int(coordinate) for coordinate in self._view.project(x, 0, z))
        inside = 0 <= column < self._view.width and 0 <= row < self._view.height
        darkness = cast(int, self._buildings.getpixel((column, row))) if inside else 0
        return 1 - 0.8 * darkness / 255  # upright faces still see part of the sky

    def _swept(self, footprint: Sequence[Point], bottom: float, top: float) -> list[Point]:
        swept: list[Point] = []
        for height in (bottom, top):
            shift_x, shift_z = self._light.shadow_offset(height)
            swept += [(x + shift_x, z + shift_z) for x, z in footprint]
        return swept

    def _fill(self, layer: Image.Image, outline: Sequence[Point], value: int) -> None:
        if value <= 0 or max(z for _, z in outline) <= NEAREST:
            return
        points = [self._view.project(x, 0, z) for x, z in _divided(outline)]
        ImageDraw.Draw(layer).polygon(points, fill=value)


def _divided(outline: Sequence[Point]) -> list[Point]:
    """Return the closed outline with points added along edges longer than a step."""
    points: list[Point] = []
    for (x0, z0), (x1, z1) in zip(outline, [*outline[1:], outline[0]], strict=True):
        parts = min(12, max(1, int(abs(z1 - z0) / _STEP)))
        points += [(x0 + (x1 - x0) * k / parts, z0 + (z1 - z0) * k / parts) for k in range(parts)]
    return points


def _convex_hull(points: Sequence[Point]) -> list[Point]:
    """Andrew's monotone chain."""
    ordered = sorted(set(points))

    def half(candidates: Sequence[Point]) -> list[Point]:
        chain: list[Point] = []
        for x, z in candidates:
            while len(chain) >= 2:
                (x0, z0), (x1, z1) = chain[-2:]
                if (x1 - x0) * (z - z0) - (z1 - z0) * (x - x0) > 0:
                    break
                chain.pop()
            chain.append((x, z))
        return chain[:-1]

    return half(ordered) + half(ordered[::-1])
