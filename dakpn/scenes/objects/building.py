"""Buildings: two visible walls evaluated pixel by pixel, and a flat or pitched roof with chimneys."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.light import TO_CAMERA, TO_LEFT, TO_RIGHT, Vector
from dakpn.scenes.looks import Rgb
from dakpn.scenes.objects.facade import Facade, choose_facade
from dakpn.scenes.painter import Painter
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.view import NEAREST, FloatArray

_ROOF_STRIP = 6.0
"""Metres of roof drawn as one polygon, so that roofs follow the bend of the road."""


@dataclass(frozen=True, slots=True)
class _WallColumns:
    """The image columns that a wall covers, and what they show; arrays are [1, w]."""

    left: int
    """The first of the columns."""
    depth: FloatArray
    along: FloatArray
    """Metres from the wall's start."""
    footprint: FloatArray
    """Metres a pixel covers along the wall."""
    normal: Vector


@dataclass(frozen=True, slots=True)
class Building:
    """A block beside the road; lengths in meters."""

    near: float
    far: float
    left: float
    right: float
    height: float
    ridge: float
    """Height of a pitched roof above the walls; 0 is a flat roof."""
    storey: float
    chimneys: tuple[float, ...]
    """Depths z of the chimneys on the ridge."""

    @property
    def distance(self) -> float:
        """The far end: whatever stands in front of the building is nearer."""
        return self.far

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of the walls."""
        footprint = [(x, z) for x in (self.left, self.right) for z in (self.near, self.far)]
        shadows.cast_building(footprint, self.height + self.ridge / 2)

    def draw(self, painter: Painter) -> None:
        """Draw roof, then the wall along the road, then the wall that faces the camera."""
        facade = choose_facade(painter, self.storey)
        if self.ridge > 0:
            self._draw_roof(painter, facade.wall)
        self._draw_wall_along_road(painter, facade)
        if self.near > NEAREST:
            self._draw_wall_facing_camera(painter, facade)

    def _faces_left(self, painter: Painter) -> bool:
        return self.left > painter.view.eye_x

    def _draw_wall_along_road(self, painter: Painter, facade: Facade) -> None:
        view, faces_left = painter.view, self._faces_left(painter)
        depth = view.wall_depth(self.left if faces_left else self.right)
        columns = np.flatnonzero((depth >= max(self.near, NEAREST)) & (depth <= self.far))
        if not len(columns):
            return
        left, right = int(columns[0]), int(columns[-1]) + 1
        z = np.clip(depth[left:right], NEAREST, self.far)[None, :]
        footprint = np.abs(np.gradient(z[0]))[None, :] if right - left > 1 else np.ones_like(z)
        normal = TO_LEFT if faces_left else TO_RIGHT
        self._draw_wall(painter, facade, _WallColumns(left, z, z - self.near, footprint, normal))

    def _draw_wall_facing_camera(self, painter: Painter, facade: Facade) -> None:
        x = painter.view.lateral_at(self.near)
        columns = np.flatnonzero((x >= self.left) & (x <= self.right))
        if not len(columns):
            return
        left, right = int(columns[0]), int(columns[-1]) + 1
        z = np.full((1, right - left), self.near, np.float32)
        along = x[None, left:right] - self.left
        wall = _WallColumns(left, z, along, z / np.float32(painter.view.focal), TO_CAMERA)
        self._draw_wall(painter, facade, wall)

    def _draw_wall(self, painter: Painter, facade: Facade, wall: _WallColumns) -> None:
        """Fill a wall's columns between the ground and the eaves."""
        view, nearest = painter.view, float(wall.depth.min())
        top = max(0, int(view.project(0, self.height, nearest)[1]))
        bottom = min(view.height, int(view.project(0, 0, nearest)[1]) + 1)
        if bottom <= top:
            return
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5
        v = view.height_at(rows, wall.depth)
        colors = facade.paint(painter, wall.along, v, wall.footprint, self.height)
        eaves = 1 - 0.25 * np.clip(1 - (self.height - v) / 0.4, 0, 1)  # the roof's overhang darkens the top
        lit = colors * painter.light.on(wall.normal) * eaves[..., None]
        hazy = painter.light.through_haze(lit, wall.depth)
        painter.canvas.stamp((wall.left, top), hazy, (v >= 0) & (v <= self.height), RoadClass.BUILDING)

    def _draw_roof(self, painter: Painter, wall: Rgb) -> None:
        faces_left = self._faces_left(painter)
        eaves, middle = self.left if faces_left else self.right, (self.left + self.right) / 2
        top, tiles = self.height + self.ridge, painter.pick(painter.palette.roofs)
        self._draw_chimneys(painter, middle, top, wall)
        slope = self.ridge / np.hypot(self.ridge, abs(middle - eaves))
        normal = (-slope if faces_left else slope, float(np.sqrt(1 - slope**2)), 0.0)
        start = max(self.near, NEAREST)
        ends = np.linspace(start, self.far, max(1, int((self.far - start) / _ROOF_STRIP)) + 1)
        for z0, z1 in pairwise(ends):
            strip = [(eaves, self.height, z0), (middle, top, z0), (middle, top, z1), (eaves, self.height, z1)]
            painter.face(strip, tiles, normal, RoadClass.BUILDING, painter.rng.uniform(0.94, 1.0))
        if self.near > NEAREST:
            gable = [(self.left, self.height, start), (middle, top, start), (self.right, self.height, start)]
            painter.face(gable, wall, TO_CAMERA, RoadClass.BUILDING)

    def _draw_chimneys(self, painter: Painter, middle: float, top: float, wall: Rgb) -> None:
        for z in self.chimneys:
            if z > NEAREST:
                stack = painter.upright(middle, z, RoadClass.BUILDING)
                stack.rectangle((-0.5, top - 1), (0.5, top + 1.0), wall, 0.8)
                stack.rectangle((-0.3, top + 1.0), (0.0, top + 1.4), wall, 0.6)
