"""The far end of the street: roofs and trees that close the view."""

from dataclasses import dataclass

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.light import TO_CAMERA
from dakpn.scenes.painter import Painter
from dakpn.scenes.shadows import Shadows


@dataclass(frozen=True, slots=True)
class DistantBlock:
    """The silhouette of a far building; lengths in meters."""

    left: float
    right: float
    distance: float
    height: float
    ridge: float

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast no shadow: it is too far to see."""

    def draw(self, painter: Painter) -> None:
        """Draw wall and roof without detail."""
        wall, tiles = painter.pick(painter.palette.walls), painter.pick(painter.palette.roofs)
        near, top = self.distance, self.height
        corners = [
            (self.left, 0, near),
            (self.left, top, near),
            (self.right, top, near),
            (self.right, 0, near),
        ]
        painter.face(corners, wall, TO_CAMERA, RoadClass.BUILDING)
        inset, peak = 0.2 * (self.right - self.left), top + self.ridge
        roof = [(self.left, top, near), (self.left + inset, peak, near)]
        roof += [(self.right - inset, peak, near), (self.right, top, near)]
        painter.face(roof, tiles, TO_CAMERA, RoadClass.BUILDING, 1.1)
