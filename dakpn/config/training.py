"""Settings of `dakpn train`, its alarms and its trackers among them."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dakpn.config.base import Config, Fraction, Size, Steps, Unit
from dakpn.config.networks import (
    DiscriminatorConfig,
    EncoderConfig,
    HeadConfig,
    NetworkConfig,
    PredictorConfig,
    StyleConfig,
)
from dakpn.config.translation import TranslationConfig


class AlarmConfig(Config):
    """Threshold of one alarm, and what is done when it rings."""

    threshold: Fraction = Field(description="value of its metric from which on a report counts as bad")
    action: Literal["off", "warn", "lower_learning_rate", "stop"] = Field(
        default="warn", description="what is done when it rings; every action but off is logged, too"
    )


class HealthConfig(Config):
    """Alarms of a training. Each is a metric of every report; all that rang are named in the model card and report.

    A loss or gradient that is not finite always ends the training.
    """

    patience: Annotated[PositiveInt, Unit("reports")] = Field(
        default=3, description="reports in a row beyond a threshold until its alarm rings"
    )
    lowered_by: Fraction = Field(
        default=0.5, description="what `lower_learning_rate` multiplies the player's rate with"
    )
    discriminator_wins: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.98), description="accuracy of a discriminator, at least"
    )
    discriminator_guesses: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.01), description="distance of every discriminator's accuracy from 0.5, at most"
    )
    saturated_pixels: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.4, action="stop"),
        description="share of pixels with a channel at 0 or 1 that had none before, at least",
    )
    inverted_hue: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.2, action="stop"),
        description="share of pixels that are colorful and whose hue turned by over a quarter of the circle, at least",
    )
    params_at_bounds: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.5),
        description="share of the transform params within 1 % of a bound other than the identity, at least",
    )
    data_wait_share: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.5), description="share of the time spent waiting for data, at least"
    )


class TrackingConfig(Config):
    """Trackers of a training. Servers and credentials come from the environment, as each of them documents."""

    tensorboard: bool = Field(default=True, description="write event files to RUN/tensorboard")
    mlflow: bool = Field(default=False, description="needs `dakpn[mlflow]`; the server is MLFLOW_TRACKING_URI")
    wandb: bool = Field(default=False, description="needs `dakpn[wandb]`; WANDB_MODE=offline works without a server")
    project: str = Field(default="dakpn", description="experiment of MLflow, project of W&B")
    samples_every: Steps = Field(
        default=100, description="distance from one picture of fixed samples to the next, drawn at a report"
    )


class ScheduleConfig(Config):
    """How a player's learning rate changes over the steps; 1 all along by default."""

    warm_up_steps: Annotated[NonNegativeInt, Unit("steps")] = Field(
        default=0, description="steps over which the rate rises linearly from 0"
    )
    decay: Literal["none", "linear", "cosine"] = Field(
        default="none", description="how the rate falls to `final_factor`; none: not at all"
    )
    decay_from: Fraction = Field(default=0.5, description="share of all steps after which the decay begins")
    final_factor: Fraction = Field(default=0.0, description="share that is left of the rate after the last step")


class AdversarialConfig(Config):
    """The game between the predictor and the discriminators."""

    loss: Literal["bce", "least_squares", "hinge"] = Field(
        default="least_squares", description="the players' loss: binary cross-entropy (paper), least squares or hinge"
    )
    players: Literal["two_sided", "reversal"] = Field(
        default="two_sided",
        description="reversal: the predictor gets the discriminator's gradient reversed (paper); "
        "two_sided: it minimizes its own, non-saturating loss",
    )
    identity_weight: NonNegativeFloat = Field(
        default=1.0, description="weight of the mean squared change of full-res patches, which holds the predictor back"
    )
    r1_weight: NonNegativeFloat = Field(
        default=0.0, description="gamma of the R1 penalty on the discriminators' gradient at real images; 0: none"
    )
    r1_every: Steps = Field(
        default=16,
        description="distance from one penalty to the next; the weight grows by as much (lazy regularization)",
    )
    shrink_for_whole: bool = Field(
        default=True,
        description="blur and noise shrink with the image at scale 2; the paper's are the same there as at full-res",
    )
    patch_size: Size = Field(default=(96, 128), description="full-res patch judged at scale 1")
    steps: Annotated[NonNegativeInt, Unit("steps")] = Field(
        default=200,
        description="updates of the predictor, and of the discriminators; 0: nothing is learned, and images get the "
        "bank's colors and what is drawn (style.refinement must be [0, 0] then)",
    )
    batch_size_per_worker: Annotated[PositiveInt, Unit("images")] = Field(
        default=4, description="images of each domain that each worker sees in a step"
    )
    predictor_learning_rate: PositiveFloat = Field(default=4e-3, description="learning rate of the predictor's Adam")
    discriminator_learning_rate: PositiveFloat = Field(
        default=4e-4, description="learning rate of the discriminators' Adam"
    )
    predictor_schedule: ScheduleConfig = Field(
        default=ScheduleConfig(), description="how the predictor's rate changes over the steps"
    )
    discriminator_schedule: ScheduleConfig = Field(
        default=ScheduleConfig(), description="how the discriminators' rate changes over the steps"
    )
    betas: tuple[Fraction, Fraction] = Field(default=(0.5, 0.999), description="decay rates of both players' Adam")
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.98, description="decay of the average over steps that becomes the weights; 0 takes the last step's"
    )
    gradient_clip: PositiveFloat | None = Field(
        default=1.0, description="largest norm of each player's gradient, each clipped by itself; null: none"
    )


class StreamConfig(Config):
    """How training reads its shards."""

    shuffle_shards: Annotated[PositiveInt, Unit("shards")] = Field(
        default=4, description="rows are shuffled across this many shards at a time"
    )
    prefetch_batches: Annotated[PositiveInt, Unit("blocks")] = Field(
        default=4,
        description="blocks of prepared samples that each worker on Ray has made ahead; of no effect with workers=0",
    )


class TrainConfig(Config):
    """`dakpn train`: train the encoder if there is none, then the kernel predictor."""

    run: str = Field(description="URI of the run folder: config, metrics, checkpoints, weights")
    synthetic: str = Field(description="URI of the packed, labelled synthetic dataset")
    real: str = Field(description="URI of the packed real dataset; its labels are never read")
    seed: int = Field(default=0, description="seed of initial weights, order, crops and noise")
    workers: NonNegativeInt | tuple[PositiveInt, PositiveInt] = Field(
        default=0,
        description="DDP workers; 0 trains in this process; [least, most] takes as many as the cluster has, and goes "
        "on from the last checkpoint with more or fewer when that changes",
    )
    cpus_per_worker: Annotated[PositiveInt, Unit("CPUs")] = Field(
        default=1, description="CPUs that Ray reserves for a worker, beside those that prepare its data"
    )
    use_gpu: bool = Field(default=False, description="one GPU for each worker, or for this process with workers=0")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="what the networks compute in; the translation function and the losses are always float32. "
        "auto: bfloat16 on a GPU, float32 on a CPU",
    )
    prediction_size: Size = Field(default=(96, 128), description="low-res size h x w at which params are predicted")
    encoder: EncoderConfig = Field(
        default=EncoderConfig(), description="the frozen network whose class logits the predictor sees"
    )
    head: HeadConfig = Field(default=HeadConfig(), description="from a map of classes to the transform params")
    style: StyleConfig = Field(default=StyleConfig(), description="colors of real images that synthetic ones take")
    translation: TranslationConfig = Field(
        default=TranslationConfig(), description="the translation function: its stages and their bounds"
    )
    discriminator: DiscriminatorConfig = Field(
        default=DiscriminatorConfig(), description="networks that tell translated images from real ones"
    )
    adversarial: AdversarialConfig = Field(
        default=AdversarialConfig(), description="the game between the predictor and the discriminators"
    )
    stream: StreamConfig = Field(default=StreamConfig(), description="how training reads its shards")
    health: HealthConfig = Field(default=HealthConfig(), description="alarms, and what is done when one rings")
    tracking: TrackingConfig = Field(default=TrackingConfig(), description="where the training can be watched")
    report_every: Steps = Field(default=20, description="distance from one report of metrics to the next")
    checkpoint_every: Steps = Field(default=100, description="distance from one checkpoint to the next")
    keep_checkpoints: PositiveInt = Field(default=2, description="newest checkpoints that are kept of each stage")
    max_failures: Annotated[int, Field(ge=0)] = Field(default=3, description="worker restarts before the run fails")

    @model_validator(mode="after")
    def _workers_are_a_range(self) -> Self:
        if self.fewest_workers > self.most_workers:
            raise ValueError(f"workers {self.workers} must be [least, most]")
        return self

    @model_validator(mode="after")
    def _adaptation_has_colors(self) -> Self:
        if self.encoder.adaptation_rounds and self.style.kind == "none":
            raise ValueError(
                f"encoder.adaptation_rounds is {self.encoder.adaptation_rounds}, but there is no style bank "
                "(style.kind: none) to take colors from; set it to 0, or choose a bank"
            )
        return self

    @model_validator(mode="after")
    def _what_is_used_is_learned(self) -> Self:
        if self.adversarial.steps == 0 and self.style.refinement[1] > 0:
            raise ValueError(
                f"adversarial.steps is 0, so that the head learns nothing, but style.refinement is "
                f"{list(self.style.refinement)}; set it to [0, 0], or train for some steps"
            )
        return self

    @property
    def encoder_trainings(self) -> int:
        """How often an encoder is trained: not at all if its weights are given."""
        return 0 if self.encoder.weights is not None else 1 + self.encoder.adaptation_rounds

    @property
    def fewest_workers(self) -> int:
        """Number of workers without which the run does not start."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """Number of workers that the run grows to."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def predictor(
        self, network: NetworkConfig, num_classes: int, style_keys: tuple[str, ...], image_width: int | None
    ) -> PredictorConfig:
        """The predictor that this run trains.

        Args:
            network: architecture of its encoder.
            num_classes: C.
            style_keys: keys of the real images in its style bank.
            image_width: of the synthetic images, in pixels; None only where the translation has no `reference_width`.
        """
        return PredictorConfig(
            num_classes=num_classes,
            prediction_size=self.prediction_size,
            network=network,
            head=self.head,
            translation=self.translation if image_width is None else self.translation.at_width(image_width),
            style=self.style,
            style_keys=style_keys,
        )
