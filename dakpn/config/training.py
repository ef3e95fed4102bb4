"""`dakpn train`."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dakpn.config.base import Config, Fraction, Size
from dakpn.config.health import HealthConfig
from dakpn.config.networks import (
    DiscriminatorConfig,
    EncoderConfig,
    HeadConfig,
    NetworkConfig,
    PredictorConfig,
    StyleConfig,
)
from dakpn.config.tracking import TrackingConfig
from dakpn.config.translation import TranslationConfig


class ScheduleConfig(Config):
    """How a player's learning rate changes over the steps; 1 all along by default."""

    warm_up_steps: NonNegativeInt = Field(default=0, description="steps over which the rate rises linearly from 0")
    decay: Literal["none", "linear", "cosine"] = "none"
    decay_from: Fraction = Field(default=0.5, description="share of all steps after which the decay begins")
    final_factor: Fraction = Field(default=0.0, description="what is left of the rate after the last step")


class AdversarialConfig(Config):
    """The game between the predictor and the discriminators."""

    loss: Literal["bce", "least_squares", "hinge"] = "least_squares"
    players: Literal["two_sided", "reversal"] = Field(
        default="two_sided",
        description="reversal: the predictor gets the discriminator's gradient reversed (paper); "
        "two_sided: it minimises its own, non-saturating loss",
    )
    identity_weight: NonNegativeFloat = Field(
        default=1.0, description="of the mean squared change of full-res patches, which holds the predictor back"
    )
    r1_weight: NonNegativeFloat = Field(
        default=0.0, description="gamma of the R1 penalty on the discriminators' gradient at real images; 0: none"
    )
    r1_every: PositiveInt = Field(
        default=16, description="steps from one penalty to the next; the weight grows by as much (lazy regularisation)"
    )
    shrink_for_whole: bool = Field(
        default=True,
        description="blur and noise shrink with the image at scale 2; the paper's are the same there as at full-res",
    )
    patch_size: Size = Field(default=(96, 128), description="full-res patch judged at scale 1")
    steps: PositiveInt = 200
    batch_size_per_worker: PositiveInt = 4
    predictor_learning_rate: PositiveFloat = 4e-3
    discriminator_learning_rate: PositiveFloat = 4e-4
    predictor_schedule: ScheduleConfig = ScheduleConfig()
    discriminator_schedule: ScheduleConfig = ScheduleConfig()
    betas: tuple[Fraction, Fraction] = Field(default=(0.5, 0.999), description="of both players' Adam")
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.98, description="of the average over steps that becomes the weights; 0 takes the last step's"
    )
    gradient_clip: PositiveFloat | None = Field(
        default=1.0, description="largest norm of each player's gradient, each clipped by itself; null: none"
    )


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
    workers: NonNegativeInt | tuple[PositiveInt, PositiveInt] = Field(
        default=0,
        description="DDP workers; 0 trains in this process; [least, most] takes as many as the cluster has, and goes "
        "on from the last checkpoint with more or fewer when that changes",
    )
    cpus_per_worker: PositiveInt = 1
    use_gpu: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="what the networks compute in; the translation function and the losses are always float32. "
        "auto: bfloat16 on a GPU, float32 on a CPU",
    )
    prediction_size: Size = Field(default=(96, 128), description="low-res size h x w at which params are predicted")
    encoder: EncoderConfig = EncoderConfig()
    head: HeadConfig = HeadConfig()
    style: StyleConfig = StyleConfig()
    translation: TranslationConfig = TranslationConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    stream: StreamConfig = StreamConfig()
    health: HealthConfig = HealthConfig()
    tracking: TrackingConfig = TrackingConfig()
    report_every: PositiveInt = Field(default=20, description="steps")
    checkpoint_every: PositiveInt = Field(default=100, description="steps")
    keep_checkpoints: PositiveInt = 2
    max_failures: Annotated[int, Field(ge=0)] = Field(default=3, description="worker restarts before the run fails")

    @model_validator(mode="after")
    def _workers_are_a_range(self) -> Self:
        if self.fewest_workers > self.most_workers:
            raise ValueError(f"workers {self.workers} must be [least, most]")
        return self

    @model_validator(mode="after")
    def _adaptation_has_colours(self) -> Self:
        if self.encoder.adaptation_rounds and self.style.kind == "none":
            raise ValueError(
                f"encoder.adaptation_rounds is {self.encoder.adaptation_rounds}, but there is no style bank "
                "(style.kind: none) to take colours from; set it to 0, or choose a bank"
            )
        return self

    @property
    def encoder_trainings(self) -> int:
        """How often an encoder is trained: not at all if its weights are given."""
        return 0 if self.encoder.weights is not None else 1 + self.encoder.adaptation_rounds

    @property
    def fewest_workers(self) -> int:
        """Workers without which the run does not start."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """Workers that the run takes if it can."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

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
