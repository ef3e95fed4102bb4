"""Fences along the far edge of the pavement, in short panels so that they sort among their neighbors."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.light import TO_LEFT, TO_RIGHT
from dakpn.scenes.looks import Rgb
from dakpn.scenes.painter import Painter
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.view import NEAREST

FenceKind = Literal["boards", "pickets", "railing"]

_BARS = {"boards": (0.15, 0.148), "pickets": (0.2, 0.12), "railing": (0.16, 0.05)}
"""Distance from one upright to the next and its width, in meters."""


@dataclass(frozen=True, slots=True)
class FencePanel:
    """A stretch of fence along the road at `x`; only the bars are labelled, not what shows between them."""

    x: float
    near: float
    far: float
    height: float
    kind: FenceKind
    paint: int
    """Panels of one fence share a number, and with it their color."""

    @property
    def distance(self) -> float:
        """The far end, as for buildings: passers-by in front of the panel are nearer."""
        return self.far

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of a closed panel."""
        shadows.cast_block([(self.x - 0.03, self.near), (self.x + 0.03, self.far)], 0, self.height)

    def draw(self, painter: Painter) -> None:
        """Draw rails, then uprights."""
        near = max(self.near, NEAREST)
        if self.far <= near:
            return
        swatches = painter.palette.fence
        color = swatches[self.paint % len(swatches)].pick(np.random.default_rng([self.paint, 7]))
        if self.kind != "boards":
            for top in (0.25, self.height):
                self._board(painter, (near, self.far), (top - 0.09, top), color)
        pitch, width = _BARS[self.kind]
        offset = abs(self.x - painter.view.eye_x)
        columns_per_metre = offset / near**2 * painter.view.focal
        if pitch * columns_per_metre < 1.5 and self.kind != "railing":  # too fine to draw one by one
            self._board(painter, (near, self.far), (0, self.height), 0.9 * color)
            return
        for z in np.arange(near, self.far, pitch)[::-1]:
            shade = 1.0 if self.kind == "railing" else painter.rng.uniform(0.88, 1.0)
            self._board(painter, (z, min(z + width, self.far)), (0, self.height), shade * color)

    def _board(self, painter: Painter, along: tuple[float, float], up: tuple[float, float], color: Rgb) -> None:
        """Fill the rectangle between two depths and two heights."""
        (near, far), (bottom, top) = along, up
        corners = [(self.x, bottom, near), (self.x, top, near), (self.x, top, far), (self.x, bottom, far)]
        normal = TO_LEFT if self.x > painter.view.eye_x else TO_RIGHT
        painter.face(corners, color, normal, RoadClass.FENCE)
