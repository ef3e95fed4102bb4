"""The translation function: its stages and their bounds."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from dakpn.config.base import Config, Unit

LARGEST_SIGMA = 3.0
"""In pixels: four of them fill the paper's window of 25 x 25."""


def _scaled(drawn: tuple[float, float], factor: float, most: float) -> tuple[float, float]:
    low, high = (min(factor * value, most) for value in drawn)
    return low, high


def _require_range(name: str, drawn: tuple[float, float], bound: str, most: float) -> None:
    low, high = drawn
    if not low <= high <= most:
        raise ValueError(f"{name} [{low:g}, {high:g}] must be [least, most], and most at most {bound} {most:g}")


class HsvAffineConfig(Config):
    """Bounds of the HSV affine stage, as half-widths around the identity (gain 1, bias 0).

    The hue gain is fixed at 1 by default: an unbounded one turns whole scenes magenta.
    """

    kind: Literal["hsv_affine"] = "hsv_affine"
    hue_gain: NonNegativeFloat = Field(default=0.0, description="most that the factor of the hue may differ from 1")
    hue_shift: Annotated[NonNegativeFloat, Unit("turns")] = Field(
        default=0.06, le=0.5, description="largest shift of the hue, in turns of the color circle"
    )
    saturation_gain: NonNegativeFloat = Field(
        default=0.7, description="most that the factor of the saturation may differ from 1"
    )
    saturation_bias: NonNegativeFloat = Field(
        default=0.4, description="largest amount added to or taken from the saturation in 0..1"
    )
    value_gain: NonNegativeFloat = Field(default=0.7, description="most that the factor of the value may differ from 1")
    value_bias: NonNegativeFloat = Field(
        default=0.4, description="largest amount added to or taken from the value in 0..1"
    )


class GaussianBlurConfig(Config):
    """Bounds of the blur stage. The window holds four sigmas, up to the paper's 25 x 25 pixels."""

    kind: Literal["gaussian_blur"] = "gaussian_blur"
    max_sigma: Annotated[PositiveFloat, Unit("pixels")] = Field(
        default=LARGEST_SIGMA, description="largest sigma of the blur"
    )
    initial_sigma: Annotated[PositiveFloat, Unit("pixels")] = Field(
        default=0.3,
        description="sigma before training; below about 0.2 the kernel is a delta and its gradient vanishes",
    )
    drawn_sigma: Annotated[tuple[NonNegativeFloat, NonNegativeFloat], Unit("pixels")] = Field(
        default=(0.0, 0.0),
        description="range of a sigma that nothing has learned: each image draws one for all of its pixels, evenly, "
        "and what the head predicts comes on top, as two blurs one after the other",
    )

    @model_validator(mode="after")
    def _stays_inside_its_bound(self) -> Self:
        if self.initial_sigma >= self.max_sigma:
            raise ValueError(f"initial_sigma {self.initial_sigma} must be below max_sigma {self.max_sigma}")
        _require_range("drawn_sigma", self.drawn_sigma, "max_sigma", self.max_sigma)
        return self

    def scaled(self, factor: float) -> Self:
        """The same blur of an image that is larger by this factor, as far as the largest window holds it."""
        most = min(factor * self.max_sigma, max(LARGEST_SIGMA, self.max_sigma))
        return type(self)(
            max_sigma=most,
            initial_sigma=most * self.initial_sigma / self.max_sigma,
            drawn_sigma=_scaled(self.drawn_sigma, factor, most),
        )


class NoiseConfig(Config):
    """Bounds of the noise stage; scales are standard deviations of an image in 0..1."""

    kind: Literal["noise"] = "noise"
    max_scale: PositiveFloat = Field(default=0.1, le=1.0, description="largest standard deviation of the noise")
    initial_scale: PositiveFloat = Field(default=0.005, description="standard deviation of the noise before training")
    drawn_scale: tuple[NonNegativeFloat, NonNegativeFloat] = Field(
        default=(0.0, 0.0),
        description="range of a standard deviation that nothing has learned: each image draws one for all of its "
        "pixels, evenly, and what the head predicts comes on top, as two noises one after the other",
    )

    @model_validator(mode="after")
    def _stays_inside_its_bound(self) -> Self:
        if self.initial_scale >= self.max_scale:
            raise ValueError(f"initial_scale {self.initial_scale} must be below max_scale {self.max_scale}")
        _require_range("drawn_scale", self.drawn_scale, "max_scale", self.max_scale)
        return self

    def scaled(self, factor: float) -> Self:
        """The noise of an image that is larger by this factor and is the same when it is shrunk by it."""
        most = min(factor * self.max_scale, 1.0)
        return type(self)(
            max_scale=most,
            initial_scale=most * self.initial_scale / self.max_scale,
            drawn_scale=_scaled(self.drawn_scale, factor, most),
        )


class RgbAffineConfig(Config):
    """Bounds of the RGB affine stage, as half-widths around the identity (gain 1, bias 0)."""

    kind: Literal["rgb_affine"] = "rgb_affine"
    gain: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.7, description="most that the factor of a channel may differ from 1"
    )
    bias: NonNegativeFloat = Field(default=0.4, description="largest amount added to or taken from a channel in 0..1")


class LabAffineConfig(Config):
    """Bounds of the affine in l-alpha-beta, a decorrelated space of base-10 logarithms.

    Its lightness spans -4.2 (black) to 0 (white), its two color axes about -2 to 2.
    """

    kind: Literal["lab_affine"] = "lab_affine"
    max_gain: Annotated[float, Field(gt=1.0, le=10.0)] = Field(
        default=2.5, description="largest factor of a channel, and the inverse of the smallest"
    )
    max_bias: PositiveFloat = Field(
        default=15.0, description="largest shift of a channel; lets any picture's mean be moved to any other's"
    )


class GammaConfig(Config):
    """Bounds of the gamma stage: exponents between 1 / max_gamma and max_gamma, one per RGB channel."""

    kind: Literal["gamma"] = "gamma"
    max_gamma: Annotated[float, Field(gt=1.0, le=10.0)] = Field(
        default=2.5, description="largest exponent, and the inverse of the smallest"
    )


class SymmetricKernelConfig(Config):
    """A predicted size x size kernel, symmetric about its pixel and largest there, so that nothing moves."""

    kind: Literal["symmetric_kernel"] = "symmetric_kernel"
    size: Annotated[Literal[3, 5, 7], Unit("pixels")] = Field(default=3, description="side of the kernel")
    initial_weight: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.01, description="weight of every neighbor before training, relative to the center"
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
        default=(HsvAffineConfig(), GaussianBlurConfig(), NoiseConfig()),
        min_length=1,
        description="stages in the order in which they act on an image",
    )
    reference_width: Annotated[PositiveInt, Unit("pixels")] | None = Field(
        default=None,
        description="width of an image for which sigmas and noise scales are given, such as that of the images that "
        "the downstream net is trained on: a training multiplies them by the width of its synthetic images "
        "over this one; null: they hold for images of any width",
    )

    def at_width(self, width: int) -> Self:
        """The function for images `width` pixels wide, in which sigmas and noise scales are in pixels of theirs."""
        if self.reference_width is None:
            return self
        factor = width / self.reference_width
        stages = tuple(
            stage.scaled(factor) if isinstance(stage, GaussianBlurConfig | NoiseConfig) else stage
            for stage in self.stages
        )
        return type(self)(stages=stages, reference_width=width)
