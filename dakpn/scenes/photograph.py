"""The simulated real domain: other streets, other materials and weather, seen through a camera."""

import numpy as np

from dakpn.scenes.camera import sample_shot, take_photograph
from dakpn.scenes.canvas import Scene
from dakpn.scenes.palettes import BRITISH
from dakpn.scenes.scene import DEFAULT_SIZE, check_arguments, render_scene

_FIRST_PHOTOGRAPHED_SEED = 2**32
_CAMERA_STREAM = 2


def photograph(scene_seed: int, size: tuple[int, int] = DEFAULT_SIZE) -> Scene:
    """Photograph a street in the simulated real world.

    The streets are none of those that `render_scene` draws for seeds below 2**32, so the two domains are
    unpaired even where a caller uses the same seeds for both.

    Args:
        scene_seed: any integer >= 0; the same seed gives the same bytes in every process.
        size: (H, W) in pixels, each at least 16.

    Returns:
        The photograph, uint8 [H, W, 3], and its exact label, uint8 [H, W], ids 0..10 of `RoadClass`.

    Raises:
        UsageError: the seed is negative or the size too small.
    """
    check_arguments(scene_seed, size)
    scene = render_scene(_FIRST_PHOTOGRAPHED_SEED + scene_seed, size, BRITISH)
    rng = np.random.default_rng([scene_seed, _CAMERA_STREAM])
    return take_photograph(scene, sample_shot(rng), rng)
