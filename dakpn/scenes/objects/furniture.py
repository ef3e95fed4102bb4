"""Street furniture: lamp posts, traffic signs and lights, hanging shop signs, bollards."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.looks import Rgb
from dakpn.scenes.painter import Painter, Upright
from dakpn.scenes.shadows import Shadows

_BLACK = np.array([24, 25, 27], np.float32)
_WHITE = np.array([235, 235, 232], np.float32)
_RED = np.array([196, 24, 30], np.float32)
_LAMPS = tuple(np.array(rgb, np.float32) for rgb in ([225, 40, 35], [235, 160, 30], [40, 205, 90]))

SignShape = Literal["disc", "triangle", "panel"]


@dataclass(frozen=True, slots=True)
class LampPost:
    """A lamp post; its arm reaches `reach` meters to the right (negative: left)."""

    x: float
    distance: float
    height: float
    thickness: float
    reach: float

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of the post."""
        shadows.cast_stick(self.x, self.distance, self.height, 0.15)

    def draw(self, painter: Painter) -> None:
        """Draw the post, the arm and the lamp."""
        sheet, metal = (
            painter.upright(self.x, self.distance, RoadClass.POLE),
            painter.pick(painter.palette.metal),
        )
        _draw_post(sheet, self.height, self.thickness, metal)
        bend = [(0, self.height - 0.6), (0.15 * self.reach, self.height), (self.reach, self.height + 0.15)]
        sheet.limb(bend, 0.7 * self.thickness, metal)
        sheet.disc((self.reach, self.height + 0.12), (0.32, 0.09), metal, 1.3)


@dataclass(frozen=True, slots=True)
class SignPost:
    """A traffic sign on a post."""

    x: float
    distance: float
    height: float
    """Height of the sign's center."""
    radius: float
    shape: SignShape
    warning: bool
    """White with a red border; otherwise one plain color of the palette."""

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of the post."""
        shadows.cast_stick(self.x, self.distance, self.height, 0.12)

    def draw(self, painter: Painter) -> None:
        """Draw the post, then the sign on it."""
        metal = painter.pick(painter.palette.metal)
        post = painter.upright(self.x, self.distance, RoadClass.POLE)
        _draw_post(post, self.height + self.radius, 0.09, metal)
        sign = painter.upright(self.x, self.distance, RoadClass.SIGN)
        color = painter.pick(painter.palette.signs)
        border, face = (_RED, _WHITE) if self.warning else (_WHITE, color)
        self._plate(sign, self.radius, border)
        self._plate(sign, 0.76 * self.radius, face)
        symbol = _BLACK if self.warning else _WHITE
        width = 0.3 * self.radius
        sign.rectangle((-width / 2, self.height - 0.3 * self.radius), (width / 2, self.height + width), symbol)

    def _plate(self, sign: Upright, radius: float, color: Rgb) -> None:
        middle = self.height
        if self.shape == "disc":
            sign.disc((0, middle), (radius, radius), color)
        elif self.shape == "triangle":
            sign.polygon(
                [(-radius, middle - 0.7 * radius), (0, middle + radius), (radius, middle - 0.7 * radius)],
                color,
            )
        else:
            sign.rectangle((-1.3 * radius, middle - radius), (1.3 * radius, middle + radius), color)


@dataclass(frozen=True, slots=True)
class TrafficLight:
    """A signal head on a post; the head is a sign in CamVid's classes."""

    x: float
    distance: float
    height: float
    lit: int
    """Which lamp shines: 0 red, 1 amber, 2 green."""

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of the post."""
        shadows.cast_stick(self.x, self.distance, self.height, 0.2)

    def draw(self, painter: Painter) -> None:
        """Draw the post and the signal head."""
        post = painter.upright(self.x, self.distance, RoadClass.POLE)
        _draw_post(post, self.height, 0.12, painter.pick(painter.palette.metal))
        head = painter.upright(self.x, self.distance, RoadClass.SIGN)
        head.rectangle((-0.3, self.height - 1.05), (0.3, self.height + 0.15), _BLACK)
        for lamp, color in enumerate(_LAMPS):
            center = (0.0, self.height - 0.12 - 0.32 * lamp)
            head.disc(center, (0.13, 0.13), color, 1.2 if lamp == self.lit else 0.25)


@dataclass(frozen=True, slots=True)
class HangingSign:
    """A shop's board, hung across the pavement from a building."""

    x: float
    distance: float
    bottom: float
    width: float
    height: float

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast no shadow: the board's is too small to see."""

    def draw(self, painter: Painter) -> None:
        """Draw the board with a band that stands for its lettering."""
        sign = painter.upright(self.x, self.distance, RoadClass.SIGN)
        half, top = self.width / 2, self.bottom + self.height
        sign.rectangle((-half, self.bottom), (half, top), painter.pick(painter.palette.shop_fronts))
        lettering = self.bottom + 0.4 * self.height
        sign.rectangle((-0.7 * half, lettering), (0.7 * half, lettering + 0.25 * self.height), _WHITE)


@dataclass(frozen=True, slots=True)
class Bollard:
    """A short post at the kerb."""

    x: float
    distance: float
    height: float

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of the bollard."""
        shadows.cast_stick(self.x, self.distance, self.height, 0.2)

    def draw(self, painter: Painter) -> None:
        """Draw the bollard and its pale band."""
        sheet = painter.upright(self.x, self.distance, RoadClass.POLE)
        sheet.rectangle((-0.09, 0), (0.09, self.height), _BLACK, 1.5)
        sheet.rectangle((-0.09, 0.75 * self.height), (0.09, 0.85 * self.height), _WHITE)


def _draw_post(sheet: Upright, height: float, thickness: float, metal: Rgb) -> None:
    half = thickness / 2
    sheet.rectangle((-half, 0), (half, height), metal)
    sheet.rectangle((0, 0), (half, height), metal, 0.7)
    sheet.rectangle((-half * 1.6, 0), (half * 1.6, 0.8), metal, 0.85)
