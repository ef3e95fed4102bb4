"""`dakpn tune`: what is varied, how trials are chosen, ended and scored."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dakpn.config.base import Config, Fraction, Size, Steps, Unit
from dakpn.config.networks import NetworkConfig, SegmenterTrainingConfig, SmallNetworkConfig
from dakpn.config.training import TrainConfig

Proxy = Literal["colors", "frechet", "kernel"]
"""Objectives that look at translated images alone; the less the better."""


class DimensionConfig(Config):
    """Values that one setting may take: exactly one of these."""

    uniform: tuple[float, float] | None = Field(default=None, description="any number from lowest to highest")
    log_uniform: tuple[PositiveFloat, PositiveFloat] | None = Field(
        default=None, description="every factor as likely as every other: for learning rates and weights"
    )
    integer: tuple[int, int] | None = Field(default=None, description="whole numbers, both ends included")
    log_integer: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None, description="whole numbers, both ends included, every factor as likely as every other"
    )
    choice: tuple[Any, ...] | None = Field(default=None, min_length=1, description="any values, sections too")

    @model_validator(mode="after")
    def _is_one_range_or_choice(self) -> Self:
        given = {name: values for name, values in self if values is not None}
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"expected exactly one of {kinds}; got {', '.join(given) or 'none'}")
        if self.bounds is not None and self.bounds[0] >= self.bounds[1]:
            raise ValueError(f"expected [lowest, highest]; got {list(self.bounds)}")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest value; None for a choice."""
        return self.uniform or self.log_uniform or self.integer or self.log_integer

    @property
    def corners(self) -> tuple[Any, ...]:
        """Both bounds, or all choices."""
        return self.bounds or self.choice or ()


class RandomSearchConfig(Config):
    """Trials drawn at random, independent of one another."""

    kind: Literal["random"] = "random"


class OptunaSearchConfig(Config):
    """Optuna's tree-structured Parzen estimator; needs `dakpn[optuna]`."""

    kind: Literal["optuna"] = "optuna"
    random_trials: Annotated[PositiveInt, Unit("trials")] = Field(
        default=8, description="trials drawn at random before it begins to learn from results"
    )


class RunAllConfig(Config):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


class AshaConfig(Config):
    """Asynchronous successive halving (Li et al., 2020): only the best part of the trials goes on at each rung."""

    kind: Literal["asha"] = "asha"
    grace_steps: Steps | None = Field(
        default=None, description="steps that every trial gets, the first rung; report_every by default"
    )
    reduction_factor: Annotated[float, Field(gt=1.0)] = Field(
        default=3.0, description="one trial in so many goes on, and each rung is so many times as far as the last"
    )


class PbtConfig(Config):
    """Population-based training (Jaderberg et al., 2017).

    Poor trials go on from the checkpoint of a good one, with changed settings.
    """

    kind: Literal["pbt"] = "pbt"
    perturb_every: Steps | None = Field(
        default=None, description="distance from one exchange of checkpoints to the next; report_every by default"
    )
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        default=0.25, description="share of the trials that copies, and that is copied"
    )
    resample_probability: Fraction = Field(
        default=0.25, description="probability of a setting to be drawn anew instead of being multiplied by 0.8 or 1.2"
    )


class ObjectiveConfig(Config):
    """What a trial is scored by, from its weights at that moment."""

    kind: Literal["miou"] | Proxy = Field(
        default="miou",
        description="miou: the mIoU of a segmenter trained on the translated images, on `validation`; colors: gray "
        "levels that a pixel of the translated images is off the real ones; frechet, kernel: distances of their "
        "features",
    )
    validation: str | None = Field(
        default=None,
        description="URI of a packed, labelled real dataset, apart from the test set: what is chosen here fits it",
    )
    seeds: tuple[int, ...] = Field(
        default=(0,), min_length=1, description="seeds of the segmenters that are trained for one score"
    )
    network: NetworkConfig = Field(default=SmallNetworkConfig(), description="the segmenter that is scored")
    training: SegmenterTrainingConfig = Field(
        default=SegmenterTrainingConfig(), description="how that segmenter is trained"
    )
    images: Annotated[PositiveInt, Unit("images")] = Field(
        default=100, description="synthetic images that a proxy looks at"
    )
    translation_size: Size | None = Field(
        default=None, description="height and width at which images are translated; training.size by default"
    )
    extractor: str = Field(
        default="efficientnet_lite0",
        description="features of frechet and kernel: efficientnet_lite0, or the path of a TorchScript module, as in "
        "the section measures of an evaluation",
    )
    correlate: Annotated[NonNegativeInt, Unit("trials")] = Field(
        default=6,
        description="trials, spread from the best to the worst, whose mIoU is measured after a sweep by proxy, for "
        "the rank correlation of the two; needs `validation`, 0 measures none",
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.kind == "miou" and self.validation is None:
            raise ValueError(
                "kind miou needs validation, the URI of a labelled real dataset; set it, or take a proxy: kind=colors"
            )
        if 0 < self.correlate < 3:
            raise ValueError(f"got correlate={self.correlate}; a rank correlation takes at least 3 trials, or 0")
        return self

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether more or less is better."""
        return "max" if self.kind == "miou" else "min"


class SweepConfig(Config):
    """The section `tune` of a training config."""

    output: str = Field(description="URI of the folder for trials and results")
    space: dict[str, DimensionConfig] = Field(min_length=1, description="dotted.key of a training setting: its values")
    trials: Annotated[PositiveInt, Unit("trials")] = Field(default=12, description="trials in all")
    objective: ObjectiveConfig = Field(description="what a trial is scored by")
    search: Annotated[RandomSearchConfig | OptunaSearchConfig, Field(discriminator="kind")] = Field(
        default=RandomSearchConfig(), description="how the settings of a trial are chosen"
    )
    scheduler: Annotated[RunAllConfig | AshaConfig | PbtConfig, Field(discriminator="kind")] = Field(
        default=RunAllConfig(), description="which trials are ended early, or changed on their way"
    )
    report_every: Steps | None = Field(
        default=None,
        description="distance, in the predictor's training, from one score to the next, and to the next decision of "
        "the scheduler; a quarter of adversarial.steps by default",
    )
    max_concurrent: Annotated[PositiveInt, Unit("trials")] | None = Field(
        default=None, description="trials at a time, at most; by default as many as the cluster has room for"
    )


class TuneConfig(TrainConfig):
    """`dakpn tune`: the config of a training with a section `tune`, which varies it.

    `run` is the run folder that the winning config names; OUTPUT/best if there is none.
    """

    tune: SweepConfig = Field(description="what is varied, how often, and what a trial is scored by")

    @model_validator(mode="before")
    @classmethod
    def _names_the_winner_s_run(cls, values: Any) -> Any:
        section = values.get("tune") if isinstance(values, Mapping) else None
        if "run" not in (values or {}) and isinstance(section, Mapping) and isinstance(section.get("output"), str):
            return {**values, "run": f"{section['output'].rstrip('/')}/best"}
        return values

    @model_validator(mode="after")
    def _scheduler_fits(self) -> Self:
        sweep = self.tune
        if not isinstance(sweep.scheduler, RunAllConfig) and "adversarial.steps" in sweep.space:
            raise ValueError(
                f"scheduler {sweep.scheduler.kind} compares trials at equal steps, so tune.space cannot vary "
                "adversarial.steps; take it out, or tune.scheduler.kind=none"
            )
        if isinstance(sweep.scheduler, PbtConfig):
            _require_pbt_can_run(sweep)
        return self

    @property
    def output(self) -> str:
        """URI of the sweep's folder."""
        return self.tune.output

    @property
    def validation(self) -> str | None:
        """URI of the dataset that trials are scored on."""
        return self.tune.objective.validation

    @property
    def report_every_steps(self) -> int:
        """Steps from one score of a trial to the next."""
        return self.tune.report_every or max(1, self.adversarial.steps // 4)


CHANGED_IN_TRAINING = (
    "adversarial.predictor_learning_rate",
    "adversarial.discriminator_learning_rate",
    "adversarial.identity_weight",
    "adversarial.r1_weight",
    "adversarial.gradient_clip",
    "adversarial.ema_decay",
)
"""Settings that can change in mid-training; others are built into the checkpoint or into what came before it."""


def _require_pbt_can_run(sweep: SweepConfig) -> None:
    fixed = [key for key in sweep.space if key not in CHANGED_IN_TRAINING]
    if fixed:
        raise ValueError(
            f"scheduler pbt changes settings in mid-training, which {', '.join(fixed)} cannot; it can vary "
            f"{', '.join(CHANGED_IN_TRAINING)}"
        )
    if not isinstance(sweep.search, RandomSearchConfig):
        raise ValueError(f"scheduler pbt does its own search; got search.kind={sweep.search.kind}, expected random")
    if sweep.trials < 2:
        raise ValueError(
            f"got {sweep.trials} trial for scheduler pbt, whose trials copy one another; expected 2 or more"
        )
