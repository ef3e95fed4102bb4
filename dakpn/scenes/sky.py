"""The sky: a gradient, clouds in perspective, and the glow around a low sun."""

import numpy as np

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.noise import value_noise
from dakpn.scenes.painter import Painter
from dakpn.scenes.view import FloatArray


def draw_sky(painter: Painter) -> None:
    """Fill the canvas down to the horizon (and one row beyond)."""
    view = painter.view
    rows = min(view.first_ground_row() + 1, view.height)
    if rows <= 0:
        return
    colors = _gradient(painter, rows)
    clouds = _cloud_density(painter, rows)[..., None]
    shading = 0.9 + 0.2 * value_noise(painter.rng, (rows, view.width), 40)[..., None]
    colors += (painter.light.cloud_brightness * shading - colors) * clouds
    colors += (255 - colors) * _sun_glow(painter, rows)[..., None]
    labels = np.full((rows, view.width), RoadClass.SKY, np.uint8)
    painter.canvas.cover(0, colors, labels)


def _gradient(painter: Painter, rows: int) -> FloatArray:
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None, None] ** 0.8
    light = painter.light
    return np.repeat(light.horizon + (light.zenith - light.horizon) * height, painter.view.width, axis=1)


def _cloud_density(painter: Painter, rows: int) -> FloatArray:
    """Opacity of the clouds [rows, W], 0..1; clouds flatten towards the horizon."""
    shape = (2 * rows, painter.view.width)
    field = np.zeros(shape, np.float32)
    for cell, weight in ((96, 0.55), (48, 0.3), (20, 0.15), (8, 0.07)):
        field += weight * value_noise(painter.rng, shape, cell)
    down = np.linspace(0, 1, rows)
    flattened = (down + down**2) / 2 * (shape[0] - 1)  # true to scale at the top, three times as dense below
    field = field[flattened.astype(np.int32)]
    threshold = 0.32 - 0.75 * painter.light.cloud_cover
    return np.clip((field - threshold) / 0.3, 0, 1).astype(np.float32)


def _sun_glow(painter: Painter, rows: int) -> FloatArray:
    """How far the sun's glare whitens the sky [rows, W], 0..1."""
    x, y, z = painter.light.sun_direction
    if z <= 0.1:
        return np.zeros((rows, painter.view.width), np.float32)
    view = painter.view
    column, row = view.width / 2 + view.focal * x / z, view.horizon - view.focal * y / z
    columns = np.arange(view.width, dtype=np.float32)[None, :] - column
    squared = columns**2 + (np.arange(rows, dtype=np.float32)[:, None] - row) ** 2
    strength = min(1.0, 1.6 * float(painter.light.sun.mean()))
    return strength * np.exp(-squared / (0.18 * view.width * view.width))
