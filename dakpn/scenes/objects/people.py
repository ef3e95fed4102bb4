"""Pedestrians and bicyclists: jointed figures on an upright sheet."""

from dataclasses import dataclass

import numpy as np

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.looks import Rgb
from dakpn.scenes.painter import Painter, Upright
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.view import Point

_TYRE = np.array([22, 22, 24], np.float32)
_SHOE = np.array([36, 32, 30], np.float32)
_WHEEL = 0.34
"""Radius of a bicycle's wheel in meters."""


@dataclass(frozen=True, slots=True)
class _Outfit:
    """The colors of one person, 0..255."""

    coat: Rgb
    trousers: Rgb
    skin: Rgb
    hair: Rgb


def _choose_outfit(painter: Painter) -> _Outfit:
    palette = painter.palette
    return _Outfit(
        coat=painter.pick(palette.clothes),
        trousers=painter.pick(palette.clothes) * 0.7,
        skin=painter.pick(palette.skin),
        hair=painter.pick(palette.bark) * 0.7,
    )


@dataclass(frozen=True, slots=True)
class Pedestrian:
    """Somebody walking or standing."""

    x: float
    distance: float
    height: float
    stride: float
    """How far apart the feet are, in meters; negative walks to the left."""
    girth: float
    """Width relative to a slim adult's."""
    bag: bool

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast a thin shadow."""
        shadows.cast_stick(self.x, self.distance, self.height, 0.45)

    def draw(self, painter: Painter) -> None:
        """Draw legs, arms, body and head."""
        sheet, outfit = painter.upright(self.x, self.distance, RoadClass.PEDESTRIAN), _choose_outfit(painter)
        shoulder, waist, half = 0.82 * self.height, 0.44 * self.height, 0.23 * self.girth
        self._draw_legs(sheet, 0.5 * self.height, outfit.trousers)
        if self.bag:
            bag = painter.pick(painter.palette.clothes)
            sheet.rectangle((0.2, 0.3 * self.height), (0.46, 0.46 * self.height), bag)
        _draw_arm(sheet, half, shoulder, self.stride, 0.8 * outfit.coat)
        shoulders = [
            (-half, shoulder),
            (-0.6 * half, shoulder + 0.05),
            (0.6 * half, shoulder + 0.05),
            (half, shoulder),
        ]
        sheet.polygon([*shoulders, (0.85 * half, waist), (-0.85 * half, waist)], outfit.coat)
        shaded = [(0.2 * half, shoulder), (half, shoulder), (0.85 * half, waist), (0.3 * half, waist)]
        sheet.polygon(shaded, outfit.coat, 0.82)
        _draw_arm(sheet, -half, shoulder, self.stride, outfit.coat)
        _draw_head(sheet, (0.0, 0.93 * self.height), outfit)

    def _draw_legs(self, sheet: Upright, hip: float, trousers: Rgb) -> None:
        for side, strength in ((1, 0.75), (-1, 1.0)):
            start, foot = side * 0.08, side * (0.07 + self.stride / 2)
            knee = (0.6 * start + 0.4 * foot + 0.15 * self.stride, 0.5 * hip)
            sheet.limb([(start, hip), knee, (foot, 0.05)], 0.15 * self.girth, trousers, strength)
            sheet.rectangle((foot - 0.08, 0.0), (foot + 0.1, 0.08), _SHOE)


@dataclass(frozen=True, slots=True)
class Bicyclist:
    """A rider on a bicycle, seen from the side or along the road; both carry the class bicyclist."""

    x: float
    distance: float
    height: float
    """The rider's height in meters."""
    sideways: bool
    direction: int
    """1 rides to the right when seen from the side, -1 to the left."""

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of bicycle and rider."""
        half = 0.8 if self.sideways else 0.2
        shadows.cast_block([(self.x - half, self.distance), (self.x + half, self.distance)], 0, 0.8)
        shadows.cast_stick(self.x, self.distance, 1.7, 0.4)

    def draw(self, painter: Painter) -> None:
        """Draw the bicycle, then the rider."""
        sheet, outfit = painter.upright(self.x, self.distance, RoadClass.BICYCLIST), _choose_outfit(painter)
        if self.sideways:
            self._draw_side(sheet, outfit, painter.pick(painter.palette.car_paint))
        else:
            self._draw_end(sheet, outfit)

    def _draw_side(self, sheet: Upright, outfit: _Outfit, frame: Rgb) -> None:
        d, tall = self.direction, self.height / 1.75
        rear, front = (-0.52 * d, _WHEEL), (0.52 * d, _WHEEL)
        saddle, bars, pedals = (-0.2 * d, 0.95), (0.42 * d, 1.02), (-0.02 * d, 0.3)
        hip, shoulder = (-0.18 * d, 1.02), (0.16 * d, 1.02 + 0.5 * tall)
        for axle in (rear, front):
            sheet.ring(axle, (_WHEEL, _WHEEL), 0.06, _TYRE)
        sheet.limb([hip, (0.24 * d, 0.72), (0.06 * d, 0.34)], 0.14, outfit.trousers, 0.7)
        for tube in ([rear, pedals, bars, saddle, rear], [saddle, pedals], [bars, front]):
            sheet.limb(tube, 0.05, frame)
        sheet.limb([hip, (0.22 * d, 0.62), (-0.06 * d, 0.16)], 0.15, outfit.trousers)
        sheet.limb([hip, shoulder], 0.32, outfit.coat)
        sheet.limb([shoulder, (0.36 * d, 1.02 + 0.2 * tall), bars], 0.1, outfit.coat, 0.85)
        _draw_head(sheet, (0.24 * d, shoulder[1] + 0.2), outfit)

    def _draw_end(self, sheet: Upright, outfit: _Outfit) -> None:
        tall = self.height / 1.75
        sheet.disc((0, _WHEEL), (0.05, _WHEEL), _TYRE)
        sheet.limb([(-0.3, 1.05), (0.3, 1.05)], 0.05, _TYRE)
        for side, foot in ((-1, 0.42), (1, 0.18)):
            sheet.limb(
                [(side * 0.1, 0.98), (side * 0.17, 0.5 + foot / 2), (side * 0.12, foot)],
                0.15,
                outfit.trousers,
            )
            sheet.rectangle((side * 0.12 - 0.05, foot - 0.1), (side * 0.12 + 0.05, foot), _SHOE)
        shoulder = 0.98 + 0.52 * tall
        for side in (-1, 1):
            sheet.limb(
                [(side * 0.2, shoulder - 0.04), (side * 0.34, shoulder - 0.28), (side * 0.27, 1.06)],
                0.1,
                outfit.coat,
                0.85,
            )
        sheet.polygon([(-0.22, shoulder), (0.22, shoulder), (0.18, 0.92), (-0.18, 0.92)], outfit.coat)
        _draw_head(sheet, (0.0, shoulder + 0.17), outfit)


def _draw_arm(sheet: Upright, shoulder_x: float, shoulder: float, stride: float, sleeve: Rgb) -> None:
    swing = -0.5 * stride if shoulder_x > 0 else 0.5 * stride
    elbow = (1.15 * shoulder_x + 0.3 * swing, 0.72 * shoulder)
    sheet.limb([(0.9 * shoulder_x, shoulder - 0.05), elbow, (shoulder_x + swing, 0.56 * shoulder)], 0.11, sleeve)


def _draw_head(sheet: Upright, center: Point, outfit: _Outfit) -> None:
    sheet.rectangle((center[0] - 0.05, center[1] - 0.2), (center[0] + 0.05, center[1]), outfit.skin, 0.8)
    sheet.disc((center[0], center[1] + 0.03), (0.115, 0.14), outfit.hair)
    sheet.disc((center[0], center[1] - 0.03), (0.1, 0.12), outfit.skin)
