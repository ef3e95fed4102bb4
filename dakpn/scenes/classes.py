"""The eleven CamVid classes as ids."""

from enum import IntEnum


class RoadClass(IntEnum):
    """CamVid's eleven classes in the order of the SegNet distribution; 11 marks pixels without a class."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10
    VOID = 11


CLASS_NAMES: tuple[str, ...] = tuple(road_class.name.lower() for road_class in list(RoadClass)[:-1])
