"""Which lists of stages the fused CPU kernels compute, and the list as the kernels read it.

Stages that look at a pixel alone, in any number and order, then at most one that looks at its surroundings, then again
any number of the former: one pass over the image. The kernels read the list as numbers, row by row of the image, so
that they are compiled once and not for each list.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dakpn.models.function.fused_stages import LOCAL, NO_LOCAL, POINTWISE, why_stages_not_fused
from dakpn.models.function.stages import Stage
from dakpn.models.function.translation import TranslationFunction


class FusedPlan(NamedTuple):
    """A list of stages as the kernels read it.

    Attributes:
        before: int64 [n, 2], the pointwise stages before the local one: kind, and number of its first param among
            those of `before`.
        after: int64 [m, 2], as `before`, of the pointwise stages behind the local one; all of them if there is none.
        local: kind of the local stage, or `NO_LOCAL`.
        radius: Radius of the local stage in pixels, 0 without one.
        params: how many params `before`, the local stage and `after` have.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    local: int
    radius: int
    params: tuple[int, int, int]


def why_not_fused(function: TranslationFunction) -> str | None:
    """What keeps the fused kernels from computing these stages, as the end of a sentence; None if nothing does."""
    return why_stages_not_fused([type(stage).__name__ for stage in function.stages])


def fused_plan(function: TranslationFunction) -> FusedPlan:
    """The plan of a list of stages for which `why_not_fused` says nothing."""
    stages = list(function.stages)
    places = [number for number, stage in enumerate(stages) if type(stage).__name__ in LOCAL]
    # Without a local stage all come behind it, so that nothing is computed in vain around the image.
    place = places[0] if places else 0
    local = stages[place : place + len(places)]
    parts = (stages[:place], local, stages[place + len(local) :])
    before, inside, after = (sum(len(stage.names) for stage in part) for part in parts)
    return FusedPlan(
        before=_numbered(parts[0]),
        after=_numbered(parts[2]),
        local=LOCAL[type(local[0]).__name__] if local else NO_LOCAL,
        radius=function.radius,
        params=(before, inside, after),
    )


def _numbered(stages: list[Stage]) -> NDArray[np.int64]:
    numbers = np.zeros((len(stages), 2), np.int64)
    first = 0
    for row, stage in zip(numbers, stages, strict=True):
        row[:] = POINTWISE[type(stage).__name__], first
        first += len(stage.names)
    return numbers
