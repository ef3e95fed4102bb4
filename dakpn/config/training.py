"""`dakpn train`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from dakpn.config.base import Config, Fraction, Size
from dakpn.config.networks import (
    DiscriminatorConfig,
    EncoderConfig,
    HeadConfig,
    NetworkConfig,
    PredictorConfig,
    StyleConfig,
)
from dakpn.config.translation import TranslationConfig


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
    style: StyleConfig = StyleConfig()
    translation: TranslationConfig = TranslationConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    stream: StreamConfig = StreamConfig()
    report_every: PositiveInt = Field(default=20, description="steps")
    checkpoint_every: PositiveInt = Field(default=100, description="steps")
    keep_checkpoints: PositiveInt = 2
    max_failures: Annotated[int, Field(ge=0)] = Field(default=3, description="worker restarts before the run fails")

    def predictor(self, network: NetworkConfig, num_classes: int, style_keys: tuple[str, ...]) -> PredictorConfig:
        """The predictor that this run trains, on an encoder of this architecture and these real images' styles."""
        return PredictorConfig(
            num_classes=num_classes,
            prediction_size=self.prediction_size,
            network=network,
            head=self.head,
            translation=self.translation,
            style=self.style,
            style_keys=style_keys,
        )
