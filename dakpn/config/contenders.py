"""Contenders of an evaluation: what turns a labelled synthetic image into one that the downstream net trains on."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from dakpn.config.base import Config, Fraction, Steps, Unit
from dakpn.config.networks import DiscriminatorConfig

SEED_PLACEHOLDER = "{seed}"
"""Stands in a URI for the seed of the cell, so that each seed is judged with a translator trained with that seed."""


class SourceOnlyConfig(Config):
    """The synthetic images as they are: what every contender has to beat."""

    kind: Literal["source_only"] = "source_only"


class RealOnlyConfig(Config):
    """No synthetic image at all: the N real labelled ones alone, for N above 0."""

    kind: Literal["real_only"] = "real_only"


class StoredConfig(Config):
    """Images that something else has translated: a packed dataset, or a folder of image files.

    Without labels of their own the images take those of the synthetic images with the same keys.
    """

    kind: Literal["stored"] = "stored"
    uri: str = Field(description="URI of the packed dataset or folder; {seed} in it stands for the seed of the cell")


class ReinhardConfig(Config):
    """Mean and spread of a random real image in a decorrelated log color space (Reinhard et al., 2001)."""

    kind: Literal["reinhard"] = "reinhard"


class HistogramMatchingConfig(Config):
    """Each channel's histogram becomes that of a random real image."""

    kind: Literal["histogram_matching"] = "histogram_matching"


class FourierConfig(Config):
    """Low-frequency amplitudes of a random real image (FDA; Yang and Soatto, 2020)."""

    kind: Literal["fda"] = "fda"
    band: Annotated[float, Field(gt=0.0, lt=0.5)] = Field(
        default=0.02, description="half-width of the exchanged square of frequencies, as a share of the shorter side"
    )


class PerturbationConfig(Config):
    """Blur and noise that nothing has learned: an even draw for every image, the same over all of it.

    The control of a trained head: after the same colors, what the head has learned has to beat it.
    """

    kind: Literal["perturbation"] = "perturbation"
    max_sigma: Annotated[float, Field(gt=0.0, le=3.0)] = Field(
        default=0.8, description="largest standard deviation of the blur, in pixels; drawn evenly from 0 to this"
    )
    max_noise: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.03,
        description="largest standard deviation of the noise, of an image in 0..1; drawn evenly from 0 to this",
    )


class KernelPredictionConfig(Config):
    """DA-KPN with any weights."""

    kind: Literal["dakpn"] = "dakpn"
    weights: str = Field(description="URI of trained predictor weights; {seed} in it stands for the seed of the cell")
    strength: Fraction | Literal["random"] = Field(
        default=1.0, description="0 is the identity, 1 the full translation; random draws it anew for every image"
    )
    refinement: tuple[Fraction, Fraction] | None = Field(
        default=None,
        description="range of the strength of the trained head on top of the style; the default is the weights' own",
    )


class GeneratorConfig(Config):
    """The ResNet generator of CycleGAN and CUT; the published one has width 64 and 9 blocks."""

    width: Annotated[PositiveInt, Unit("channels")] = Field(
        default=16, description="channels of the first layer; twice and four times as many follow"
    )
    blocks: PositiveInt = Field(default=4, description="residual blocks at a quarter of the resolution")


class _BaselineTrainingConfig(Config):
    generator: GeneratorConfig = Field(default=GeneratorConfig(), description="the network that translates")
    discriminator: DiscriminatorConfig = Field(
        default=DiscriminatorConfig(widths=(32, 64, 128)), description="PatchGAN that judges translated images"
    )
    steps: Steps = Field(default=1500, description="updates of the generator")
    batch_size_per_worker: Annotated[PositiveInt, Unit("images")] = Field(
        default=2, description="images of each domain in a step"
    )
    learning_rate: PositiveFloat = Field(default=2e-4, description="learning rate of both players' Adam")
    betas: tuple[Fraction, Fraction] = Field(default=(0.5, 0.999), description="decay rates of both players' Adam")


class CycleGanConfig(_BaselineTrainingConfig):
    """CycleGAN (Zhu et al., 2017), trained here on the synthetic and the real domain, once a seed."""

    kind: Literal["cyclegan"] = "cyclegan"
    cycle_weight: NonNegativeFloat = Field(default=10.0, description="weight of each domain's cycle loss")
    identity_weight: NonNegativeFloat = Field(default=5.0, description="weight of each domain's identity loss")


class CutConfig(_BaselineTrainingConfig):
    """CUT (Park et al., 2020), trained here on the synthetic and the real domain, once a seed."""

    kind: Literal["cut"] = "cut"
    contrast_weight: NonNegativeFloat = Field(default=1.0, description="weight of PatchNCE on synthetic images")
    identity_weight: NonNegativeFloat = Field(
        default=1.0, description="weight of PatchNCE on real images; 0 in FastCUT"
    )
    patches: PositiveInt = Field(default=64, description="places compared in every layer of an image")
    embedding: Annotated[PositiveInt, Unit("channels")] = Field(
        default=64, description="width of the projection of a patch's features"
    )
    temperature: PositiveFloat = Field(
        default=0.07, description="what similarities are divided by before the softmax; less tells patches apart more"
    )


TranslatorConfig = Annotated[
    ReinhardConfig
    | HistogramMatchingConfig
    | FourierConfig
    | PerturbationConfig
    | KernelPredictionConfig
    | CycleGanConfig
    | CutConfig,
    Field(discriminator="kind"),
]
"""A contender that translates an image that is handed to it."""


class ChainConfig(Config):
    """Translators one after the other, such as moment matching followed by DA-KPN."""

    kind: Literal["chain"] = "chain"
    parts: tuple[TranslatorConfig, ...] = Field(min_length=2, description="translators, the first one first")


def _stored_if_text(value: Any) -> Any:
    return {"kind": "stored", "uri": value} if isinstance(value, str) else value


_WithImages = (
    SourceOnlyConfig
    | StoredConfig
    | ReinhardConfig
    | HistogramMatchingConfig
    | FourierConfig
    | PerturbationConfig
    | KernelPredictionConfig
    | CycleGanConfig
    | CutConfig
    | ChainConfig
)


class SelfTrainingConfig(Config):
    """Training on another contender's images and, by a mean teacher's guesses, on real ones without labels (DACS).

    What people use for adaptation instead of translation, or around it: does translation still help under it?
    """

    kind: Literal["self_training"] = "self_training"
    images: Annotated[
        _WithImages,
        Field(discriminator="kind"),
        BeforeValidator(_stored_if_text),
    ] = Field(default=SourceOnlyConfig(), description="the contender whose labelled images are trained on")
    decay: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.99, description="decay rate of the teacher, an average over the network's steps"
    )
    threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.968, description="probability above which the teacher counts as sure of a pixel"
    )
    weight: NonNegativeFloat = Field(default=1.0, description="weight of the loss on mixed images")


ContenderConfig = Annotated[
    _WithImages | RealOnlyConfig | SelfTrainingConfig,
    Field(discriminator="kind"),
    BeforeValidator(_stored_if_text),
]
"""Told apart by `kind`; a text alone is the URI of stored images."""


def parts_of(contender: ContenderConfig | None) -> list[ContenderConfig]:
    """The contender and all that it is made of: the parts of a chain, the images that self-training starts from."""
    match contender:
        case None:
            return []
        case ChainConfig():
            return [contender, *contender.parts]
        case SelfTrainingConfig():
            return [contender, *parts_of(contender.images)]
        case _:
            return [contender]
