"""Base class and field types of all configs."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


@dataclass(frozen=True)
class Unit:
    """What the numbers of a setting count or measure, told by `dakpn config`."""

    name: str


Size = Annotated[tuple[PositiveInt, PositiveInt], Unit("pixels: height, width")]
"""Height and width in pixels."""
Steps = Annotated[PositiveInt, Unit("steps")]
"""Updates of a network, or a distance between two of them."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of all configs: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
