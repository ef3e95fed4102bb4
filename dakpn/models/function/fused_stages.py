"""Which stages the fused CPU kernels know, by the names of their classes; nothing here loads torch.

The numbers are those by which the kernels tell stages apart.
"""

import importlib.util
from collections.abc import Sequence

LAB_AFFINE, HSV_AFFINE, RGB_AFFINE, GAMMA, NOISE = range(5)
NO_LOCAL, GAUSSIAN_BLUR, SYMMETRIC_KERNEL = range(3)

POINTWISE = {
    "LabAffine": LAB_AFFINE,
    "HsvAffine": HSV_AFFINE,
    "RgbAffine": RGB_AFFINE,
    "Gamma": GAMMA,
    "Noise": NOISE,
}
"""Stages that look at a pixel alone."""
LOCAL = {"GaussianBlur": GAUSSIAN_BLUR, "SymmetricKernel": SYMMETRIC_KERNEL}
"""Stages that look at a pixel's surroundings."""


def why_stages_not_fused(names: Sequence[str]) -> str | None:
    """What keeps the fused kernels from computing stages, as the end of a sentence; None if nothing does.

    Args:
        names: Names of the stages' classes, in order.
    """
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    unknown = [name for name in names if name not in POINTWISE and name not in LOCAL]
    if unknown:
        return f"there is no kernel for the stage {unknown[0]}"
    local = [name for name in names if name in LOCAL]
    if len(local) > 1:
        return f"{len(local)} stages look at a pixel's surroundings ({', '.join(local)}); one pass has room for one"
    return None
