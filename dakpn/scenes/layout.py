"""The plan of a street: where everything stands. It decides the label completely; looks only paint it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dakpn.scenes.ground import GroundPlan
from dakpn.scenes.objects.building import Building
from dakpn.scenes.objects.fence import FencePanel
from dakpn.scenes.objects.foliage import CROWN_SHAPES, Plant
from dakpn.scenes.objects.furniture import Bollard, HangingSign, LampPost, SignPost, TrafficLight
from dakpn.scenes.objects.people import Bicyclist, Pedestrian
from dakpn.scenes.objects.skyline import DistantBlock
from dakpn.scenes.objects.vehicle import Vehicle
from dakpn.scenes.painter import StreetObject
from dakpn.scenes.view import View

_CAR_KINDS = ("hatchback", "hatchback", "hatchback", "saloon", "saloon", "estate", "estate", "van")
_STREET_END = 160.0
_PANEL = 2.4
"""Length of a fence panel in meters."""


@dataclass(frozen=True, slots=True)
class StreetPlan:
    """A view, the ground, and the objects on it from the farthest to the nearest."""

    view: View
    ground: GroundPlan
    objects: tuple[StreetObject, ...]


def plan_street(rng: np.random.Generator, width: int, height: int) -> StreetPlan:
    """Draw a street and a camera in it, for a picture of `width` x `height` pixels."""
    ground = GroundPlan(
        road_half_width=rng.uniform(3.2, 5.5),
        pavement_width=rng.uniform(1.6, 4.0),
        grass_verge=bool(rng.random() < 0.35),
    )
    view = View(
        width=width,
        height=height,
        focal=width * rng.uniform(0.75, 1.15),
        horizon=height * rng.uniform(0.42, 0.55),
        eye_x=rng.choice([-1, 1]) * rng.uniform(0.8, 2.2),
        eye_height=rng.uniform(1.2, 1.7),
        curve=rng.normal(0, 0.0007),
        heading=rng.normal(0, 0.04),
    )
    objects: list[StreetObject] = [*_skyline(rng), *_traffic(rng, ground, view)]
    for side in (-1, 1):
        objects += _roadside(rng, ground, side)
    return StreetPlan(view, ground, tuple(sorted(objects, key=lambda item: -item.distance)))


def _roadside(rng: np.random.Generator, ground: GroundPlan, side: int) -> Iterator[StreetObject]:
    """Place everything on one side of the road: `side` is -1 for the left, 1 for the right."""
    yield from _buildings(rng, ground, side)
    yield from _plants(rng, ground, side)
    yield from _furniture(rng, ground, side)
    if rng.random() < 0.4:
        yield from _fence(rng, ground, side)
    if rng.random() < 0.75:
        yield from _parked_vehicles(rng, ground, side)
    for _ in range(rng.poisson(2.4)):
        x = side * (ground.road_half_width + rng.uniform(0.4, ground.pavement_width - 0.3))
        yield from _walkers(rng, x, rng.uniform(4.5, 40))


def _skyline(rng: np.random.Generator) -> Iterator[StreetObject]:
    x = -130.0
    while x < 130:
        width, distance = rng.uniform(8, 22), rng.uniform(170, 240)
        if rng.random() < 0.5:
            yield DistantBlock(x, x + width, distance, rng.uniform(4, 11), rng.choice([0.0, 2.5]))
        else:
            yield _tree(rng, x, distance, rng.uniform(3, 6), rng.uniform(4, 8))
        x += width * rng.uniform(0.6, 1.1)


def _buildings(rng: np.random.Generator, ground: GroundPlan, side: int) -> Iterator[StreetObject]:
    """Line up buildings, terraced or spaced out, with hanging signs on some."""
    near, density = rng.uniform(-5, 8), rng.choice([0.95, 0.8, 0.45])
    terraced = rng.random() < 0.5
    setback = rng.uniform(0, 3)
    while near < _STREET_END:
        length = rng.uniform(6, 16) if terraced else rng.uniform(9, 28)
        if rng.random() < density:
            front = ground.building_line + setback + (0 if terraced else rng.uniform(0, 4))
            yield _building(rng, side, front, near, near + length)
            if rng.random() < 0.45 and near > 3 and setback < 1.5:
                x = side * (front - rng.uniform(0.4, 0.7))
                yield HangingSign(x, near + 0.5, rng.uniform(2.6, 3.4), rng.uniform(0.5, 1.1), rng.uniform(0.4, 1.2))
        near += length + (0 if terraced and rng.random() < 0.85 else rng.uniform(1, 12))


def _building(rng: np.random.Generator, side: int, front: float, near: float, far: float) -> Building:
    depth = rng.uniform(8, 14)
    left, right = (front, front + depth) if side > 0 else (-front - depth, -front)
    height = rng.uniform(5.5, 10) if rng.random() < 0.65 else rng.uniform(10, 26)
    ridge = rng.uniform(2.2, 3.8) if height < 11 and rng.random() < 0.75 else 0.0
    chimneys = tuple(near + (far - near) * rng.random(rng.integers(0, 3))) if ridge else ()
    return Building(near, far, left, right, height, ridge, rng.uniform(2.7, 3.4), tuple(sorted(chimneys, reverse=True)))


def _plants(rng: np.random.Generator, ground: GroundPlan, side: int) -> Iterator[StreetObject]:
    avenue = rng.random() < 0.3
    for number in range(rng.poisson(5)):
        beside_kerb = ground.road_half_width + 0.9
        x = beside_kerb if avenue else ground.building_line + rng.choice([-0.5, 0.5, 2.5, 5.0, 7.0])
        distance = 9 + 9 * number + rng.uniform(-2, 2) if avenue else rng.uniform(7, 95)
        yield _tree(rng, side * x, distance, rng.uniform(1.3, 3.2), rng.uniform(4.2, 8))
    for _ in range(rng.poisson(1.8)):
        radius = rng.uniform(0.5, 1.4)
        x, distance = side * (ground.building_line + rng.uniform(0, 2)), rng.uniform(5, 60)
        yield _plant(rng, x, distance, radius, 0.6 * radius, trunk=False)


def _tree(rng: np.random.Generator, x: float, distance: float, radius: float, height: float) -> Plant:
    return _plant(rng, x, distance, radius, max(height, 1.2 * radius + 1), trunk=True)


def _plant(rng: np.random.Generator, x: float, distance: float, radius: float, height: float, *, trunk: bool) -> Plant:
    return Plant(
        x=x,
        distance=distance,
        height=height,
        radius=radius,
        slenderness=rng.uniform(0.8, 1.4) if trunk else 0.8,
        shape=int(rng.integers(CROWN_SHAPES)),
        mirrored=bool(rng.random() < 0.5),
        trunk=trunk,
    )


def _furniture(rng: np.random.Generator, ground: GroundPlan, side: int) -> Iterator[StreetObject]:
    kerbside = side * (ground.road_half_width + 0.5)
    first, spacing = rng.uniform(6, 24), rng.uniform(18, 32)
    height, thickness = rng.uniform(5, 8.5), rng.uniform(0.12, 0.2)
    for number in range(rng.integers(1, 5)):
        yield LampPost(kerbside, first + number * spacing, height, thickness, -side * rng.uniform(0.8, 2.0))
    for _ in range(rng.poisson(1.4)):
        shape = ("disc", "disc", "triangle", "panel")[rng.integers(4)]
        distance, middle, radius = rng.uniform(5, 45), rng.uniform(2.1, 2.8), rng.uniform(0.28, 0.5)
        yield SignPost(kerbside, distance, middle, radius, shape, shape != "panel" and bool(rng.random() < 0.6))
    if rng.random() < 0.35:
        yield TrafficLight(kerbside, rng.uniform(7, 40), rng.uniform(3, 3.8), int(rng.integers(3)))
    if rng.random() < 0.2:
        start = rng.uniform(5, 20)
        for number in range(rng.integers(3, 8)):
            yield Bollard(kerbside, start + 1.8 * number, 0.95)


def _fence(rng: np.random.Generator, ground: GroundPlan, side: int) -> Iterator[StreetObject]:
    x = side * (ground.building_line - 0.1 if rng.random() < 0.75 else ground.road_half_width + 0.35)
    near, height, paint = rng.uniform(2, 18), rng.uniform(0.9, 1.8), int(rng.integers(1000))
    kind = ("boards", "pickets", "railing")[rng.integers(3)]
    for number in range(rng.integers(4, 16)):
        start = near + number * _PANEL
        yield FencePanel(x, start, start + _PANEL, height, kind, paint)


def _parked_vehicles(rng: np.random.Generator, ground: GroundPlan, side: int) -> Iterator[StreetObject]:
    distance, x = rng.uniform(3, 20), side * (ground.road_half_width - 1.05)
    for _ in range(rng.integers(1, 7)):
        yield _vehicle(rng, x + rng.normal(0, 0.08), distance, rear_seen=side < 0 or rng.random() < 0.3)
        distance += rng.uniform(5.6, 9)


def _vehicle(rng: np.random.Generator, x: float, distance: float, rear_seen: bool) -> Vehicle:
    kind = _CAR_KINDS[rng.integers(len(_CAR_KINDS))]
    return Vehicle(x, distance, kind, rng.uniform(0.95, 1.08), bool(rear_seen))


def _traffic(rng: np.random.Generator, ground: GroundPlan, view: View) -> Iterator[StreetObject]:
    """Place moving vehicles, people crossing, and bicycles."""
    for _ in range(rng.poisson(1.5)):
        lane = rng.choice([-1, 1])
        same_way = lane * view.eye_x > 0
        x, distance = lane * ground.road_half_width * 0.42, rng.uniform(7, 70)
        if rng.random() < 0.12 and distance > 12:
            yield Vehicle(x, distance, "bus", 1.0, bool(same_way))
        else:
            yield _vehicle(rng, x, distance, rear_seen=same_way)
    if rng.random() < 0.25:
        yield from _walkers(rng, rng.uniform(-1, 1) * ground.road_half_width, rng.uniform(7, 30))
    for _ in range(rng.poisson(1.3)):
        x = rng.choice([-1, 1]) * ground.road_half_width * rng.uniform(0.55, 0.9)
        sideways, direction = bool(rng.random() < 0.35), int(rng.choice([-1, 1]))
        yield Bicyclist(x, rng.uniform(5, 30), rng.uniform(1.6, 1.9), sideways, direction)


def _walkers(rng: np.random.Generator, x: float, distance: float) -> Iterator[StreetObject]:
    """Place one person, or two beside each other."""
    for number in range(1 + int(rng.random() < 0.3)):
        yield Pedestrian(
            x=x + 0.6 * number,
            distance=distance + 0.05 * number,
            height=rng.uniform(1.5, 1.9),
            stride=rng.uniform(-0.6, 0.6),
            girth=rng.uniform(0.9, 1.25),
            bag=bool(rng.random() < 0.25),
        )
