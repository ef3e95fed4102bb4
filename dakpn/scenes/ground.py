"""The ground: road, kerbs, pavements, verges and road markings, evaluated pixel by pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.light import UP
from dakpn.scenes.looks import Rgb
from dakpn.scenes.painter import Painter
from dakpn.scenes.view import FloatArray

KERB_WIDTH = 0.25

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class GroundPlan:
    """Widths in meters; every strip is symmetric about the road's center line."""

    road_half_width: float
    pavement_width: float
    grass_verge: bool
    """Whether grass or more paving lies beyond the pavement."""

    @property
    def building_line(self) -> float:
        """Lateral distance from the center line to the far edge of the pavement."""
        return self.road_half_width + self.pavement_width


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Street coordinates of the ground's pixels and the size of a pixel there, in meters."""

    x: FloatArray
    z: FloatArray
    across: FloatArray
    """|x|, the distance from the center line."""
    footprint: FloatArray
    """Metres a pixel covers along the road, [R, 1]."""


def draw_ground(painter: Painter, plan: GroundPlan) -> None:
    """Fill the canvas below the horizon, shadows included."""
    x, z = painter.view.ground()
    if not len(z):
        return
    footprint = z * z / (painter.view.focal * painter.view.eye_height)
    pixels = _Pixels(x, z, np.abs(x), footprint)
    road, paved = pixels.across < plan.road_half_width, pixels.across < plan.building_line
    kerb = ~road & (pixels.across < plan.road_half_width + KERB_WIDTH)
    grass = ~paved if plan.grass_verge else np.zeros_like(paved)

    colors = np.where(road[..., None], _tarmac(painter, plan, pixels), _paving(painter, pixels))
    colors[kerb] *= 0.82
    if plan.grass_verge:
        colors = np.where(grass[..., None], _grass(painter, pixels), colors)
    _paint_markings(painter, plan, pixels, colors)

    lit = colors * painter.light.on(UP) * painter.shadows.remaining_light()[..., None]
    labels = np.where(road, RoadClass.ROAD, np.where(grass, RoadClass.TREE, RoadClass.PAVEMENT)).astype(np.uint8)
    painter.canvas.cover(painter.view.first_ground_row(), painter.light.through_haze(lit, z), labels)


def _mottled(painter: Painter, base: Rgb, pixels: _Pixels, coarse: float, fine: float) -> FloatArray:
    """Give `base` stains that follow the ground and a grain that follows the picture."""
    grain = painter.palette.grain
    stains = painter.noise.sample(pixels.x, pixels.z, 12.0) * (coarse * grain)
    speckle = painter.rng.standard_normal(pixels.x.shape, np.float32) * (fine * grain)
    near = np.exp(-pixels.footprint / 0.3)
    return base * (1 + stains + speckle * near)[..., None]


def _tarmac(painter: Painter, plan: GroundPlan, pixels: _Pixels) -> FloatArray:
    colors = _mottled(painter, painter.pick(painter.palette.tarmac), pixels, 0.22, 0.05)
    lane = pixels.across / plan.road_half_width
    wheel_paths = np.exp(-(((lane - 0.3) / 0.07) ** 2)) + np.exp(-(((lane - 0.72) / 0.07) ** 2))
    colors *= (1 + 0.07 * painter.palette.grain * wheel_paths)[..., None]
    for _ in range(painter.rng.poisson(1.2 * painter.palette.grain)):
        _repair(painter, plan, pixels, colors)
    return colors


def _repair(painter: Painter, plan: GroundPlan, pixels: _Pixels, colors: FloatArray) -> None:
    """Lay a patch of newer, darker or paler tarmac."""
    rng = painter.rng
    left, near = rng.uniform(-1, 0.7) * plan.road_half_width, rng.uniform(3, 25)
    rows = (pixels.z[:, 0] > near) & (pixels.z[:, 0] < near + rng.uniform(1, 8))
    patch = rows[:, None] & (pixels.x > left) & (pixels.x < left + rng.uniform(0.6, 2.5))
    colors[patch] *= rng.choice([0.78, 0.86, 1.12])


def _paving(painter: Painter, pixels: _Pixels) -> FloatArray:
    colors = _mottled(painter, painter.pick(painter.palette.paving), pixels, 0.16, 0.03)
    slab = painter.rng.uniform(0.5, 0.9)
    across = (pixels.x / slab) % 1.0 < 0.05 / slab
    along = (pixels.z / slab) % 1.0 < 0.05 / slab
    visible = np.clip(1 - pixels.footprint / 0.25, 0, 1)
    return colors * (1 - 0.3 * (across | along) * visible)[..., None]


def _grass(painter: Painter, pixels: _Pixels) -> FloatArray:
    return _mottled(painter, painter.pick(painter.palette.grass), pixels, 0.5, 0.12)


def _paint_markings(painter: Painter, plan: GroundPlan, pixels: _Pixels, colors: FloatArray) -> None:
    """Paint center and edge lines, and now and then a zebra crossing; markings are road."""
    rng = painter.rng
    dashed = rng.random() < 0.75
    dash, period = rng.uniform(1.5, 3.5), rng.uniform(5, 8)
    center = pixels.across < 0.07
    if dashed:
        center &= (pixels.z + rng.uniform(0, period)) % period < dash
    _paint(painter, center, painter.pick(painter.palette.center_line), colors)

    edge_color = painter.pick(painter.palette.edge_line)
    edge_lines = rng.integers(3)  # none, single or double
    for line in range(edge_lines):
        offset = plan.road_half_width - 0.3 - 0.25 * line
        _paint(painter, np.abs(pixels.across - offset) < 0.055, edge_color, colors)
    if rng.random() < 0.15:
        near = rng.uniform(7, 25)
        rows = (pixels.z > near) & (pixels.z < near + 2.8)
        stripes = rows & (pixels.x % 1.1 < 0.55) & (pixels.across < plan.road_half_width - 0.3)
        _paint(painter, stripes, painter.pick(painter.palette.center_line), colors)


def _paint(painter: Painter, where: BoolArray, color: Rgb, colors: FloatArray) -> None:
    """Cover most of the tarmac; worn paint lets it through."""
    worn = min(0.45, 0.12 * painter.palette.grain)
    colors[where] = worn * colors[where] + (1 - worn) * color
