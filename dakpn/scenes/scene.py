"""From a seed to a picture with its label."""

import numpy as np

from dakpn.errors import UsageError
from dakpn.scenes.canvas import SUPERSAMPLING, Canvas, Scene
from dakpn.scenes.ground import draw_ground
from dakpn.scenes.layout import StreetPlan, plan_street
from dakpn.scenes.light import sample_light
from dakpn.scenes.looks import Look
from dakpn.scenes.noise import NoiseTile
from dakpn.scenes.painter import Painter
from dakpn.scenes.palettes import SYNTHETIC
from dakpn.scenes.shadows import Shadows
from dakpn.scenes.sky import draw_sky

DEFAULT_SIZE = (192, 256)
MINIMUM_SIDE = 16

_PLAN_STREAM, _LOOK_STREAM = 0, 1


def render_scene(seed: int, size: tuple[int, int] = DEFAULT_SIZE, look: Look = SYNTHETIC) -> Scene:
    """Render a street with its exact label.

    The same arguments give the same bytes in every process. The label depends on the seed and the size alone:
    another look repaints the same street.

    Args:
        seed: any integer >= 0.
        size: (H, W) in pixels, each at least `MINIMUM_SIDE`.
        look: materials and weather.

    Returns:
        The picture, uint8 [H, W, 3], and its label, uint8 [H, W], ids 0..10 of `RoadClass`.

    Raises:
        UsageError: the seed is negative or the size too small.
    """
    check_arguments(seed, size)
    plan = plan_street(np.random.default_rng([seed, _PLAN_STREAM]), SUPERSAMPLING * size[1], SUPERSAMPLING * size[0])
    return draw_plan(plan, size, look, np.random.default_rng([seed, _LOOK_STREAM]))


def check_arguments(seed: int, size: tuple[int, int]) -> None:
    """Refuse a seed or size that cannot be rendered.

    Raises:
        UsageError: says which one and what is allowed.
    """
    if seed < 0:
        raise UsageError(f"Scene seed {seed} is negative; use an integer >= 0.")
    if min(size) < MINIMUM_SIDE:
        raise UsageError(f"Scene size {size} is too small; height and width must be at least {MINIMUM_SIDE} pixels.")


def draw_plan(plan: StreetPlan, size: tuple[int, int], look: Look, rng: np.random.Generator) -> Scene:
    """Paint a plan: sky, shadowed ground, then every object from the farthest to the nearest."""
    light = sample_light(look.weather, rng)
    shadows = Shadows(plan.view, light)
    for item in plan.objects:
        item.cast_shadow(shadows)
    painter = Painter(Canvas(size), plan.view, light, look.palette, rng, NoiseTile(rng), shadows)
    draw_sky(painter)
    draw_ground(painter, plan.ground)
    for item in plan.objects:
        item.draw(painter)
    return painter.canvas.finish()
