"""Outlines of vehicles seen from the side, as tables."""

from dataclasses import dataclass
from typing import Literal

Part = Literal["body", "rear", "front", "glass", "roof", "bumper"]


@dataclass(frozen=True, slots=True)
class VehicleShape:
    """A vehicle's side view, extruded across its width.

    Attributes:
        length, width: meters.
        belt: height in meters where the glass begins; the body narrows above it.
        roof_width: width of the roof relative to the body's.
        outline: (fraction of the length from the rear, height in meters), from the rear's bottom over the
            roof to the front's bottom.
        parts: what each stretch of the outline shows; one fewer than the points.
        side_glass: windows seen from the side, as polygons in the outline's coordinates.
        wheels: fractions of the length where the axles are.
    """

    length: float
    width: float
    belt: float
    roof_width: float
    outline: tuple[tuple[float, float], ...]
    parts: tuple[Part, ...]
    side_glass: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, ...] = (0.18, 0.81)
    wheel_radius: float = 0.32


# fmt: off
_CAR_PARTS: tuple[Part, ...] = ("bumper", "rear", "glass", "roof", "glass", "body", "front", "bumper")

HATCHBACK = VehicleShape(
    length=3.9,
    width=1.7,
    belt=0.9,
    roof_width=0.76,
    outline=(
        (0.0, 0.3), (0.0, 0.55), (0.03, 0.92), (0.13, 1.4), (0.5, 1.46), (0.73, 0.96), (0.97, 0.74),
        (1.0, 0.5), (1.0, 0.28),
    ),
    parts=_CAR_PARTS,
    side_glass=(
        ((0.11, 0.94), (0.17, 1.32), (0.38, 1.36), (0.38, 0.94)),
        ((0.41, 0.94), (0.41, 1.36), (0.5, 1.36), (0.67, 0.96)),
    ),
)
SALOON = VehicleShape(
    length=4.5,
    width=1.75,
    belt=0.92,
    roof_width=0.74,
    outline=(
        (0.0, 0.3), (0.0, 0.55), (0.02, 0.95), (0.16, 1.0), (0.3, 1.4), (0.53, 1.42), (0.7, 0.98),
        (0.97, 0.76), (1.0, 0.52), (1.0, 0.28),
    ),
    parts=("bumper", "rear", "body", "glass", "roof", "glass", "body", "front", "bumper"),
    side_glass=(
        ((0.23, 0.99), (0.31, 1.32), (0.43, 1.34), (0.43, 0.96)),
        ((0.45, 0.96), (0.45, 1.34), (0.53, 1.33), (0.66, 0.98)),
    ),
)
ESTATE = VehicleShape(
    length=4.6,
    width=1.78,
    belt=1.0,
    roof_width=0.8,
    outline=(
        (0.0, 0.36), (0.0, 0.65), (0.02, 1.02), (0.07, 1.52), (0.53, 1.58), (0.7, 1.06), (0.97, 0.86),
        (1.0, 0.58), (1.0, 0.34),
    ),
    parts=_CAR_PARTS,
    side_glass=(
        ((0.06, 1.04), (0.1, 1.43), (0.25, 1.46), (0.25, 1.04)),
        ((0.27, 1.04), (0.27, 1.46), (0.43, 1.48), (0.43, 1.04)),
        ((0.45, 1.04), (0.45, 1.48), (0.53, 1.48), (0.66, 1.06)),
    ),
    wheel_radius=0.36,
)
VAN = VehicleShape(
    length=5.2,
    width=1.95,
    belt=1.25,
    roof_width=0.9,
    outline=(
        (0.0, 0.4), (0.0, 0.65), (0.0, 1.3), (0.01, 1.95), (0.03, 2.25), (0.7, 2.28), (0.84, 1.25),
        (0.97, 1.0), (1.0, 0.65), (1.0, 0.36),
    ),
    parts=("bumper", "rear", "glass", "body", "roof", "glass", "body", "front", "bumper"),
    side_glass=(((0.66, 1.28), (0.66, 2.0), (0.72, 2.0), (0.81, 1.28)),),
    wheel_radius=0.36,
)
BUS = VehicleShape(
    length=10.0,
    width=2.5,
    belt=1.2,
    roof_width=0.96,
    outline=(
        (0.0, 0.4), (0.0, 0.7), (0.0, 1.5), (0.0, 2.7), (0.01, 3.1), (0.99, 3.1),
        (1.0, 2.7), (1.0, 1.1), (1.0, 0.7), (1.0, 0.4),
    ),
    parts=("bumper", "rear", "glass", "body", "roof", "body", "glass", "front", "bumper"),
    side_glass=tuple(
        ((start, 1.3), (start, 2.5), (start + 0.11, 2.5), (start + 0.11, 1.3))
        for start in (0.04, 0.17, 0.3, 0.43, 0.56, 0.69, 0.82)
    ),
    wheels=(0.22, 0.8),
    wheel_radius=0.48,
)
# fmt: on

SHAPES: dict[str, VehicleShape] = {
    "hatchback": HATCHBACK,
    "saloon": SALOON,
    "estate": ESTATE,
    "van": VAN,
    "bus": BUS,
}
