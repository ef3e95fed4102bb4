"""Every setting of every workflow, as frozen pydantic models. Unknown keys are refused by all of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Size = tuple[PositiveInt, PositiveInt]
"""Height and width in pixels."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of all configs: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- the translation function -------------------------------------------------------------------------


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
    HsvAffineConfig | GaussianBlurConfig | NoiseConfig | RgbAffineConfig | GammaConfig | SymmetricKernelConfig,
    Field(discriminator="kind"),
]


class TranslationConfig(Config):
    """The translation function: its stages in order; the default is the paper's three (12 params)."""

    stages: tuple[StageConfig, ...] = Field(
        default=(HsvAffineConfig(), GaussianBlurConfig(), NoiseConfig()), min_length=1
    )


# ---- networks -----------------------------------------------------------------------------------------


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


def _small_by_default(value: Any) -> Any:
    return {"kind": "small", **value} if isinstance(value, Mapping) else value


NetworkConfig = Annotated[
    SmallNetworkConfig | FcnResnet50Config | SegformerConfig,
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
    cache_features: bool = Field(
        default=False,
        description="keep the encoder's logits of synthetic images in fp16 from epoch to epoch; pays with a large "
        "encoder and more than one epoch",
    )
    cache_megabytes: PositiveInt = Field(default=1024, description="most that the kept logits of one worker may take")


class HeadConfig(Config):
    """The 1 x 1 convolution from the encoder's output to the transform params."""

    features: Literal["probabilities", "logits"] = Field(
        default="probabilities", description="what of the encoder the head sees; the paper's is logits"
    )


class PredictorConfig(Config):
    """All that is needed to rebuild a kernel predictor; kept beside its weights."""

    num_classes: PositiveInt
    prediction_size: Size
    network: NetworkConfig
    head: HeadConfig
    translation: TranslationConfig


class DiscriminatorConfig(Config):
    """PatchGAN discriminators of the two scales."""

    widths: tuple[PositiveInt, ...] = Field(default=(64, 128, 256, 512), min_length=1)
    normalization: Literal["instance", "none"] = "instance"
    shared: bool = Field(default=False, description="one discriminator for both scales, as in the paper")


# ---- training -----------------------------------------------------------------------------------------


class AdversarialConfig(Config):
    """The game between the predictor and the discriminators."""

    loss: Literal["bce", "least_squares", "hinge"] = "least_squares"
    players: Literal["two_sided", "reversal"] = Field(
        default="two_sided",
        description="reversal: the predictor gets the discriminator's gradient reversed (paper); "
        "two_sided: it minimises its own, non-saturating loss",
    )
    identity_weight: NonNegativeFloat = 1.0
    patch_size: Size = Field(default=(96, 128), description="full-res patch judged at scale 1")
    steps: PositiveInt = 200
    batch_size_per_worker: PositiveInt = 4
    predictor_learning_rate: PositiveFloat = 4e-3
    discriminator_learning_rate: PositiveFloat = 4e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.98
    gradient_clip: PositiveFloat = 1.0


class StreamConfig(Config):
    """How training reads its shards."""

    shuffle_shards: PositiveInt = Field(default=4, description="rows are shuffled across this many shards at a time")
    prefetch_batches: PositiveInt = 4


class TrainConfig(Config):
    """`dakpn train`: train the encoder if there is none, then the kernel predictor."""

    run: str = Field(description="URI of the run folder: config, metrics, checkpoints, weights")
    synthetic: str = Field(description="URI of the packed, labelled synthetic dataset")
    real: str = Field(description="URI of the packed real dataset; its labels are never read")
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = Field(default=0, description="DDP workers; 0 trains in this process")
    cpus_per_worker: PositiveInt = 1
    use_gpu: bool = False
    prediction_size: Size = Field(default=(96, 128), description="low-res size h x w at which params are predicted")
    encoder: EncoderConfig = EncoderConfig()
    head: HeadConfig = HeadConfig()
    translation: TranslationConfig = TranslationConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    stream: StreamConfig = StreamConfig()
    report_every: PositiveInt = Field(default=20, description="steps")
    checkpoint_every: PositiveInt = Field(default=100, description="steps")
    keep_checkpoints: PositiveInt = 2
    max_failures: Annotated[int, Field(ge=0)] = Field(default=3, description="worker restarts before the run fails")

    def predictor(self, network: NetworkConfig, num_classes: int) -> PredictorConfig:
        """The predictor that this run trains, on an encoder of this architecture."""
        return PredictorConfig(
            num_classes=num_classes,
            prediction_size=self.prediction_size,
            network=network,
            head=self.head,
            translation=self.translation,
        )


# ---- translation, evaluation, demo --------------------------------------------------------------------


class TranslateConfig(Config):
    """`dakpn translate`: one output shard per input shard."""

    weights: str = Field(description="URI of trained predictor weights")
    input: str = Field(description="URI of a packed dataset")
    output: str = Field(description="URI of the translated dataset")
    strength: Fraction = Field(default=1.0, description="0 is the exact identity, 1 the full translation")
    draw: Annotated[int, Field(ge=0)] = Field(
        default=0, description="number of the noise draw; the seed is (draw, key)"
    )
    workers: PositiveInt = 2
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    max_pixels_in_flight: PositiveInt = Field(
        default=4_000_000, description="bounds the memory of one worker; does not change a bit of the output"
    )


class VerifyConfig(Config):
    """`dakpn verify`: compare an output dataset with its input."""

    input: str
    output: str
    workers: PositiveInt = 2


class EvaluateConfig(Config):
    """`dakpn evaluate`: train the same segmenter per contender and score it on real images."""

    output: str = Field(description="URI of the folder for results")
    contenders: dict[str, str] = Field(min_length=1, description="name: URI of a packed, labelled dataset")
    oracle: str | None = Field(default=None, description="URI of a packed, labelled real training set, as upper bound")
    real_test: str = Field(description="URI of a packed, labelled real dataset, used for scoring only")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    network: NetworkConfig = SmallNetworkConfig()
    training: SegmenterTrainingConfig = SegmenterTrainingConfig()
    workers: PositiveInt = 2


class DemoConfig(Config):
    """`dakpn demo`: the whole workflow on one machine."""

    out: Path = Path("runs/demo")
    synthetic: Path | None = Field(default=None, description="folder of synthetic images and labels")
    synthetic_dataset: str = "camvid"
    real: Path | None = Field(default=None, description="folder of real images; labels are used for scoring only")
    real_dataset: str = "camvid"
    synthetic_count: PositiveInt = 400
    real_count: PositiveInt = 240
    seeds: tuple[int, ...] = (0, 1, 2)
    encoder_steps: PositiveInt = 300
    steps: PositiveInt = 200
    segmenter_steps: PositiveInt = 300
    workers: Annotated[int, Field(ge=0)] = 0
