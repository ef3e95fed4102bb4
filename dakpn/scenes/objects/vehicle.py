"""Vehicles: a side view extruded across the width, with glass, lights, plates and wheels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dakpn.scenes.classes import RoadClass
from dakpn.scenes.light import TO_CAMERA, TO_LEFT, TO_RIGHT, Vector
from dakpn.scenes.looks import Rgb
from dakpn.scenes.objects.vehicle_shapes import SHAPES, VehicleShape
from dakpn.scenes.painter import Painter, StreetPoint
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.view import Point

_RUBBER = np.array([26, 26, 28], np.float32)
_HUB = np.array([120, 122, 126], np.float32)
_TRIM = np.array([44, 45, 48], np.float32)
_TAIL_LAMP = np.array([190, 28, 26], np.float32)
_HEADLAMP = np.array([235, 236, 228], np.float32)
_REAR_PLATE = np.array([225, 190, 60], np.float32)
_FRONT_PLATE = np.array([228, 228, 222], np.float32)
_WHEEL_CORNERS = np.linspace(0, 2 * np.pi, 14, endpoint=False)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A vehicle parallel to the road."""

    x: float
    distance: float
    """Metres to its near end."""
    kind: str
    """A key of `SHAPES`."""
    scale: float
    rear_seen: bool
    """Whether its rear or its front is the near end."""

    def cast_shadow(self, shadows: Shadows) -> None:
        """Cast the shadow of body and cabin, and darken the ground below."""
        shape = SHAPES[self.kind]
        length, half = shape.length * self.scale, shape.width * self.scale / 2
        near, far = self.distance, self.distance + length
        body = [(self.x + side * half, z) for side in (-1, 1) for z in (near, far)]
        cabin = [(self.x + side * 0.8 * half, z) for side in (-1, 1) for z in (near + 0.2 * length, far - 0.3 * length)]
        shadows.cast_block(body, 0.2, shape.belt * self.scale)
        shadows.cast_block(cabin, 0.2, max(y for _, y in shape.outline) * self.scale)
        reach = 1.04 * half
        shadows.touch([(self.x - reach, near), (self.x + reach, near), (self.x + reach, far), (self.x - reach, far)])

    def draw(self, painter: Painter) -> None:
        """Draw the far wheels, the stretches of the outline from far to near, then the visible side."""
        drawing = _VehicleDrawing(painter, self)
        drawing.end_wheels()
        drawing.hull()
        drawing.side()


class _VehicleDrawing:
    """The colors and coordinates of one vehicle while it is drawn."""

    def __init__(self, painter: Painter, vehicle: Vehicle) -> None:
        self._painter, self._vehicle = painter, vehicle
        self._shape: VehicleShape = SHAPES[vehicle.kind]
        self._paint = painter.pick(painter.palette.car_paint)
        self._glass = painter.pick(painter.palette.glass) * 0.45
        self._strength = painter.shadows.light_at(vehicle.x, vehicle.distance)
        self._detailed = painter.view.pixels_per_metre(vehicle.distance) * self._shape.width > 14

    def end_wheels(self) -> None:
        """Draw what shows of the tyres below the near bumper."""
        half, radius = self._shape.width / 2, self._shape.wheel_radius
        for side in (-1, 1):
            outer, inner = side * half, side * (half - 0.22)
            self._rectangle((outer, 0.0), (inner, radius), _RUBBER, behind=0.04)

    def hull(self) -> None:
        """Draw the faces that run across the width, from the far end to the near end."""
        outline, parts = self._shape.outline, self._shape.parts
        faces = list(zip(outline[:-1], outline[1:], parts, strict=True))
        for start, end, part in faces if not self._vehicle.rear_seen else faces[::-1]:
            half_start, half_end = self._half_width(start[1]), self._half_width(end[1])
            corners = [self._at(-half_start, start), self._at(half_start, start)]
            corners += [self._at(half_end, end), self._at(-half_end, end)]
            self._face(corners, self._part_color(part), self._normal(start, end))
            if part == "glass" and self._detailed:
                self._glass_edges(start, end)
        if self._detailed:
            self._near_end()

    def side(self) -> None:
        """Draw the side that the camera sees, if any: body, sill, windows, wheels."""
        half = self._shape.width / 2 * self._vehicle.scale
        offset = self._vehicle.x - self._painter.view.eye_x
        if abs(offset) <= half:
            return
        side, normal = (-1, TO_LEFT) if offset > 0 else (1, TO_RIGHT)
        self._face([self._on_side(side, p) for p in self._shape.outline], self._paint, normal)
        sill = [(0.0, 0.3), (0.0, 0.5), (1.0, 0.46), (1.0, 0.28)]
        self._face([self._on_side(side, p) for p in sill], self._paint * 0.72, normal)
        for window in self._shape.side_glass:
            self._face([self._on_side(side, p) for p in window], self._glass, normal)
        for axle in self._shape.wheels:
            for radius, color in ((1.16, _TRIM * 0.5), (1.0, _RUBBER), (0.58, _HUB)):
                self._face(self._wheel(side, axle, radius * self._shape.wheel_radius), color, normal)

    def _near_end(self) -> None:
        """Lamps, number plate and bumper trim at the end towards the camera."""
        rear, half, belt = self._vehicle.rear_seen, self._shape.width / 2, self._shape.belt
        low, high = (0.62 * belt, 0.92 * belt) if rear else (0.62 * belt, 0.8 * belt)
        for side in (-1, 1):
            outer, inner = side * 0.96 * half, side * (0.7 if rear else 0.6) * half
            lamp = _TAIL_LAMP if rear else _HEADLAMP
            self._rectangle((outer, low), (inner, high), lamp)
        if not rear:
            self._rectangle((-0.5 * half, 0.62 * belt), (0.5 * half, 0.74 * belt), _TRIM)
        self._rectangle((-0.27, 0.45 * belt), (0.27, 0.57 * belt), _REAR_PLATE if rear else _FRONT_PLATE)
        self._rectangle((-0.98 * half, 0.3), (0.98 * half, 0.38), _TRIM)

    def _glass_edges(self, start: Point, end: Point) -> None:
        """Frame a pane with body paint, left and right."""
        for side in (-1, 1):
            outer = [side * self._half_width(start[1]), side * self._half_width(end[1])]
            pillar = [self._at(outer[0], start), self._at(0.88 * outer[0], start)]
            pillar += [self._at(0.86 * outer[1], end), self._at(outer[1], end)]
            self._face(pillar, self._paint, TO_CAMERA)

    def _part_color(self, part: str) -> Rgb:
        if part == "glass":
            return self._glass
        return {"bumper": 0.75, "rear": 0.95, "front": 0.95}.get(part, 1.0) * self._paint

    def _normal(self, start: Point, end: Point) -> Vector:
        """Outward normal of a stretch of the outline; it runs from the rear over the roof to the front."""
        along, up = (end[0] - start[0]) * self._shape.length, end[1] - start[1]
        length = float(np.hypot(along, up))
        towards_rear = up / length
        return 0.0, max(along / length, 0.0), -towards_rear if self._vehicle.rear_seen else towards_rear

    def _half_width(self, height: float) -> float:
        """Half the body's width at a height: full up to the belt, narrowing to the roof."""
        shape = self._shape
        top = max(y for _, y in shape.outline)
        narrowing = max(0.0, (height - shape.belt) / (top - shape.belt)) * (1 - shape.roof_width)
        return shape.width / 2 * (1 - narrowing)

    def _depth(self, fraction: float) -> float:
        from_near = fraction if self._vehicle.rear_seen else 1 - fraction
        return self._vehicle.distance + from_near * self._shape.length * self._vehicle.scale

    def _at(self, across: float, point: Point) -> StreetPoint:
        scale = self._vehicle.scale
        return self._vehicle.x + across * scale, point[1] * scale, self._depth(point[0])

    def _on_side(self, side: int, point: Point) -> StreetPoint:
        return self._at(side * self._half_width(point[1]), point)

    def _wheel(self, side: int, axle: float, radius: float) -> list[StreetPoint]:
        length = self._shape.length
        rim = [
            (axle + radius * np.cos(a) / length, self._shape.wheel_radius + radius * np.sin(a)) for a in _WHEEL_CORNERS
        ]
        return [self._at(side * self._shape.width / 2, (t, max(0.0, y))) for t, y in rim]

    def _rectangle(self, corner: Point, opposite: Point, color: Rgb, behind: float = -0.01) -> None:
        """Fill a rectangle facing the camera, `behind` meters from the near end; corners are (across, up)."""
        vehicle, scale = self._vehicle, self._vehicle.scale
        x0, x1 = vehicle.x + corner[0] * scale, vehicle.x + opposite[0] * scale
        y0, y1, z = corner[1] * scale, opposite[1] * scale, vehicle.distance + behind
        self._face([(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)], color, TO_CAMERA)

    def _face(self, corners: Sequence[StreetPoint], color: Rgb, normal: Vector) -> None:
        self._painter.face(corners, color, normal, RoadClass.CAR, self._strength)
