"""Trees and bushes: crowns are clumps of leaves, lit as a relief."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.looks import Rgb
from dakpn.scenes.noise import value_noise
from dakpn.scenes.painter import Painter
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.view import FloatArray

CROWN_SHAPES = 12
"""Number of different crowns; each is modeled once per process."""

_RELIEF = 96
"""Side of a crown's relief in pixels; it spans -1.15..1.15 crown radii."""
_SPAN = 1.15


@dataclass(frozen=True, slots=True)
class Plant:
    """A tree or a bush; lengths in meters."""

    x: float
    distance: float
    height: float
    """Height of the crown's center."""
    radius: float
    """Horizontal radius of the crown."""
    slenderness: float
    """Vertical radius of the crown relative to the horizontal one."""
    shape: int
    """Which of the `CROWN_SHAPES` it wears."""
    mirrored: bool
    trunk: bool
    """A tree has one, a bush sits on the ground."""

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of crown and trunk."""
        shadows.cast_ball(self.x, self.height, self.distance, 0.85 * self.radius)
        if self.trunk:
            shadows.cast_stick(self.x, self.distance, self.height, 0.3)

    def draw(self, painter: Painter) -> None:
        """Draw the trunk, then the crown in front of it."""
        if self.trunk:
            self._draw_trunk(painter)
        _draw_crown(painter, self, painter.pick(painter.palette.leaves))

    def _draw_trunk(self, painter: Painter) -> None:
        sheet, bark = (
            painter.upright(self.x, self.distance, RoadClass.TREE),
            painter.pick(painter.palette.bark),
        )
        base, top = 0.065 * self.radius + 0.08, 0.03 * self.radius + 0.04
        sheet.polygon([(-base, 0), (-top, self.height), (top, self.height), (base, 0)], bark)
        sheet.polygon([(0, 0), (0, self.height), (top, self.height), (base, 0)], bark, 0.7)


def _draw_crown(painter: Painter, plant: Plant, color: Rgb) -> None:
    """Draw a plant's crown in `color`; leaves away from the sun keep the ambient light alone."""
    view, scale = painter.view, painter.view.pixels_per_metre(plant.distance)
    column, row = view.project(plant.x, plant.height, plant.distance)
    across, down = _SPAN * plant.radius * scale, _SPAN * plant.radius * plant.slenderness * scale
    left, right = max(0, int(column - across)), min(view.width, int(column + across) + 1)
    top, bottom = max(0, int(row - down)), min(view.height, int(row + down) + 1)
    if right - left < 2 or bottom - top < 2:
        return
    relief = _crown_relief(plant.shape)
    window = (  # the visible part of the relief, in its own pixels
        (left - column + across) / (2 * across) * _RELIEF,
        (top - row + down) / (2 * down) * _RELIEF,
        (right - column + across) / (2 * across) * _RELIEF,
        (bottom - row + down) / (2 * down) * _RELIEF,
    )
    size = (right - left, bottom - top)
    layers = [_resample(relief[k], window, size, plant.mirrored) for k in range(relief.shape[0])]
    cover, to_right, to_top, to_camera, openness = layers
    to_right = -to_right if plant.mirrored else to_right
    x, y, z = painter.light.sun_direction
    facing = np.clip(to_right * x + to_top * y - to_camera * z, 0, 1)[..., None]
    speckle = painter.rng.standard_normal(cover.shape, np.float32) * (0.13 * painter.palette.grain)
    light = painter.light.ambient * openness[..., None] + painter.light.sun * facing
    leaves = color * light * (1 + speckle)[..., None]
    hazy = painter.light.through_haze(leaves, np.float32(plant.distance))
    painter.canvas.stamp((left, top), hazy, cover > 0.5, RoadClass.TREE)


def _resample(layer: FloatArray, window: tuple[float, ...], size: tuple[int, int], mirrored: bool) -> FloatArray:
    source = np.ascontiguousarray(layer[:, ::-1]) if mirrored else layer
    left, top, right, bottom = (min(max(edge, 0.0), float(_RELIEF)) for edge in window)
    resized = Image.fromarray(source).resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(resized)


@lru_cache(maxsize=CROWN_SHAPES)
def _crown_relief(shape: int) -> FloatArray:
    """Model a crown as a heap of balls with ragged edges.

    Returns:
        float32 [5, _RELIEF, _RELIEF]: cover (0 or 1), the unit normal (right, up, towards the camera), and
        how open the leaves are to the sky (0.3..1.2).
    """
    rng = np.random.default_rng([shape, 0x1EAF])
    axis = np.linspace(-_SPAN, _SPAN, _RELIEF, dtype=np.float32)
    ragged = [0.25 * value_noise(rng, (_RELIEF, _RELIEF), cell) for cell in (4, 4)]
    x, y = axis[None, :] + ragged[0], -axis[:, None] + ragged[1]
    surface = np.full((_RELIEF, _RELIEF), -1.0, np.float32)
    for _ in range(34):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.78 * np.sqrt(rng.random())
        radius = rng.uniform(0.2, 0.4)
        center_x, center_y = distance * np.cos(angle), distance * np.sin(angle)
        depth = rng.uniform(0, 1) * np.sqrt(max(0.0, 1 - distance**2))
        squared = radius**2 - (x - center_x) ** 2 - (y - center_y) ** 2
        surface = np.maximum(surface, np.where(squared > 0, np.sqrt(np.maximum(squared, 0)) + depth, -1))
    surface += 0.12 * value_noise(rng, surface.shape, 3)
    cover = (surface > 0).astype(np.float32)
    down, right = np.gradient(np.maximum(surface, 0), axis[1] - axis[0])
    length = np.sqrt(right**2 + down**2 + 1)
    openness = 0.62 + 0.22 * np.clip(y, -1, 1) + 0.3 * (surface - surface[cover > 0].mean())
    layers = (cover, -right / length, down / length, 1 / length, np.clip(openness, 0.3, 1.2))
    return np.stack(layers).astype(np.float32)
