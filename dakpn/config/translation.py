"""The translation function: its stages and their bounds."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from dakpn.config.base import Config


class HsvAffineConfig(Config):
    """Bounds of the HSV affine stage, as half-widths around the identity (gain 1, bias 0).

    The hue gain is fixed at 1 by default: an unbounded one turns whole scenes magenta.
    """

    kind: Literal["hsv_affine"] = "hsv_affine"
    hue_gain: NonNegativeFloat = 0.0
    hue_shift: NonNegativeFloat = Field(default=0.06, le=0.5, description="in turns of the colour circle")
    saturation_gain: NonNegativeFloat = 0.7
    saturation_bias: NonNegativeFloat = 0.4
    value_gain: NonNegativeFloat = 0.7
    value_bias: NonNegativeFloat = 0.4


class GaussianBlurConfig(Config):
    """Bounds of the blur stage. The window holds four sigmas, up to the paper's 25 x 25 pixels."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    max_sigma: PositiveFloat = Field(default=3.0, description="pixels")
    initial_sigma: PositiveFloat = Field(
        default=0.3, description="pixels; below about 0.2 the kernel is a delta and its gradient vanishes"
    )

    @model_validator(mode="after")
    def _starts_inside_its_bound(self) -> Self:
        if self.initial_sigma >= self.max_sigma:
            raise ValueError(f"initial_sigma {self.initial_sigma} must be below max_sigma {self.max_sigma}")
        return self


class NoiseConfig(Config):
    """Bounds of the noise stage; scales are standard deviations of an image in 0..1."""

    kind: Literal["noise"] = "noise"
    max_scale: PositiveFloat = Field(default=0.1, le=1.0)
    initial_scale: PositiveFloat = 0.005

    @model_validator(mode="after")
    def _starts_inside_its_bound(self) -> Self:
        if self.initial_scale >= self.max_scale:
            raise ValueError(f"initial_scale {self.initial_scale} must be below max_scale {self.max_scale}")
        return self


class RgbAffineConfig(Config):
    """Bounds of the RGB affine stage, as half-widths around the identity (gain 1, bias 0)."""

    kind: Literal["rgb_affine"] = "rgb_affine"
    gain: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.7
    bias: NonNegativeFloat = 0.4


class LabAffineConfig(Config):
    """Bounds of the affine in l-alpha-beta, a decorrelated space of base-10 logarithms.

    Its lightness spans -4.2 (black) to 0 (white), its two colour axes about -2 to 2.
    """

    kind: Literal["lab_affine"] = "lab_affine"
    max_gain: Annotated[float, Field(gt=1.0, le=10.0)] = 2.5
    max_bias: PositiveFloat = Field(default=15.0, description="lets any picture's mean be moved to any other's")


class GammaConfig(Config):
    """Bounds of the gamma stage: exponents between 1 / max_gamma and max_gamma, one per RGB channel."""

    kind: Literal["gamma"] = "gamma"
    max_gamma: Annotated[float, Field(gt=1.0, le=10.0)] = 2.5


class SymmetricKernelConfig(Config):
    """A predicted size x size kernel, symmetric about its pixel and largest there, so that nothing moves."""

    kind: Literal["symmetric_kernel"] = "symmetric_kernel"
    size: Literal[3, 5, 7] = 3
    initial_weight: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.01, description="of every neighbour, relative to the centre"
    )


StageConfig = Annotated[
    HsvAffineConfig
    | GaussianBlurConfig
    | NoiseConfig
    | RgbAffineConfig
    | LabAffineConfig
    | GammaConfig
    | SymmetricKernelConfig,
    Field(discriminator="kind"),
]


class TranslationConfig(Config):
    """The translation function: its stages in order; the default is the paper's three (12 params)."""

    stages: tuple[StageConfig, ...] = Field(
        default=(HsvAffineConfig(), GaussianBlurConfig(), NoiseConfig()), min_length=1
    )
