"""The stages of the translation function: small objects that declare their params, bounds and radius.

A stage maps the head's raw, unbounded output to params inside its bounds (`bound`) and applies params to an image
(`apply`). Raw zeros give the params the head starts from. No raw value can leave the bounds.
"""

from dakpn.config import (
    GammaConfig,
    GaussianBlurConfig,
    HsvAffineConfig,
    LabAffineConfig,
    NoiseConfig,
    RgbAffineConfig,
    StageConfig,
    SymmetricKernelConfig,
)
from dakpn.models.function.stages.color import Gamma, HsvAffine, LabAffine, RgbAffine
from dakpn.models.function.stages.local import GaussianBlur, Noise, SymmetricKernel
from dakpn.models.function.stages.stage import Stage

__all__ = [
    "Gamma",
    "GaussianBlur",
    "HsvAffine",
    "LabAffine",
    "Noise",
    "RgbAffine",
    "Stage",
    "SymmetricKernel",
    "build_stage",
]

_STAGES = {
    LabAffineConfig: LabAffine,
    HsvAffineConfig: HsvAffine,
    RgbAffineConfig: RgbAffine,
    GammaConfig: Gamma,
    GaussianBlurConfig: GaussianBlur,
    SymmetricKernelConfig: SymmetricKernel,
    NoiseConfig: Noise,
}


def build_stage(config: StageConfig) -> Stage:
    """The stage that a config describes."""
    return _STAGES[type(config)](config)
