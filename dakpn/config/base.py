"""What all configs share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

Size = tuple[PositiveInt, PositiveInt]
"""Height and width in pixels."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of all configs: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
