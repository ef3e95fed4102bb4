"""Settings of `dakpn evaluate`: the protocol."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from dakpn.config.base import Config, Size, Steps, Unit
from dakpn.config.contenders import ChainConfig, ContenderConfig, RealOnlyConfig, SelfTrainingConfig
from dakpn.config.networks import NetworkConfig, SegmenterTrainingConfig, SmallNetworkConfig

Count = Annotated[int, Field(ge=0), Unit("images")] | Literal["all"]


def _checked_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


SequencePattern = Annotated[str, AfterValidator(_checked_pattern)]
"""A regular expression that finds a key's sequence: its first group, or all that it matches."""


class RealLabelledConfig(Config):
    """The few labelled real images that join the synthetic ones: which, how many, and how."""

    dataset: str = Field(description="URI of a packed, labelled real dataset, apart from the test set")
    counts: tuple[Count, ...] = Field(
        default=(0, 10, 30, 100, "all"), min_length=1, description="numbers N of labelled real images to try"
    )
    draws: PositiveInt = Field(default=3, description="choices of which N images, each with every seed")
    sequence: SequencePattern | None = Field(
        default=None,
        description="regular expression that finds a key's sequence (its first group, or all it matches): the N "
        "images of a draw then come from one sequence. Frames scattered over a video are worth far more labels.",
    )
    use: Literal["mixed", "fine_tune"] = Field(
        default="mixed",
        description="mixed: in every batch; fine_tune: synthetic batches first, then real ones alone, with as many "
        "steps in all and the same schedule",
    )
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.5, description="share of a batch (mixed) or of the steps (fine_tune) that is real"
    )


class MeasuresConfig(Config):
    """What is measured on translated images, beside the scores of nets trained on them."""

    images: Annotated[PositiveInt, Unit("images")] = Field(
        default=200, description="synthetic images that are translated and measured"
    )
    extractor: str = Field(
        default="efficientnet_lite0",
        description="features of the Frechet and kernel distances: efficientnet_lite0 (needs `dakpn[measures]`), "
        "none, or the path of a TorchScript module from images [B, 3, H, W] in 0..1 to features [B, D]",
    )
    pictures: Annotated[PositiveInt, Unit("images")] = Field(default=6, description="images on the contact sheet")
    core_hour_price: NonNegativeFloat | None = Field(
        default=None, description="price of one CPU core for an hour, to say what 1,000 images cost"
    )


class EvaluateConfig(Config):
    """`dakpn evaluate`: train the same segmenter per contender and score it on real images.

    Every contender is trained with every seed and, where `real_labelled` is given, with every count of real labelled
    images and every draw of them. Network, steps, augmentation and schedule are the same for all.
    """

    output: str = Field(description="URI of the folder for results")
    contenders: dict[str, ContenderConfig] = Field(
        min_length=1, description="by name: a section with a `kind`, or the URI of translated images alone"
    )
    synthetic: str | None = Field(
        default=None, description="URI of the packed, labelled synthetic dataset that contenders translate"
    )
    real: str | None = Field(
        default=None, description="URI of packed real images whose labels are never read: what contenders aim at"
    )
    oracle: str | None = Field(default=None, description="URI of a packed, labelled real training set, as upper bound")
    real_test: str = Field(description="URI of a packed, labelled real dataset, used for scoring only")
    test_sequence: SequencePattern | None = Field(
        default=None,
        description="regular expression that finds a test key's sequence, as in real_labelled: each sequence is then "
        "scored by itself, too",
    )
    real_labelled: RealLabelledConfig | None = Field(
        default=None, description="labelled real images that join the synthetic ones; none: no such image is used"
    )
    seeds: tuple[int, ...] = Field(
        default=(0, 1, 2), min_length=1, description="seeds of the segmenters; each contender is trained once with each"
    )
    network: NetworkConfig = Field(default=SmallNetworkConfig(), description="the segmenter that is trained and scored")
    training: SegmenterTrainingConfig = Field(
        default=SegmenterTrainingConfig(), description="how the segmenter is trained, alike for all contenders"
    )
    translation_size: Size | None = Field(
        default=None,
        description="contenders translate images of this height and width, which are then brought to training.size; "
        "none: they translate at training.size",
    )
    measures: MeasuresConfig | None = Field(
        default=None, description="measures of the translated images themselves; none: mIoU alone"
    )
    workers: PositiveInt = Field(default=2, description="trainings side by side, each one task on the cluster")
    num_gpus: Annotated[float, Field(ge=0, le=1), Unit("GPUs")] = Field(
        default=0.0,
        description="GPUs of each training, baseline and measurement; below 1, several share one: with 0.33 and "
        "workers=3 three do. 0: all on CPUs",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="what segmenters are trained in; losses and scores are always float32. auto: bfloat16 on a GPU, "
        "float32 on a CPU",
    )
    memory_gigabytes: Annotated[PositiveFloat, Unit("GB")] = Field(
        default=8.0,
        description="most that the images of one dataset may take in a task, at the evaluation's size; those of a "
        "larger one are read from its shards as they are drawn, and of a larger `real` only as many as fit, spread "
        "over it. On a GPU, images that take at most this and half of its free memory stay there",
    )
    checkpoint_every: Steps = Field(
        default=200, description="a training of more steps writes a checkpoint so often, and goes on from it if stopped"
    )
    max_hours: Annotated[PositiveFloat, Unit("hours")] = Field(
        default=72.0,
        description="an evaluation that would take longer, by the time that a few steps of its first training take, "
        "is refused",
    )

    @property
    def image_size(self) -> Size:
        """Height and width at which contenders translate."""
        return self.translation_size or self.training.size

    def quick(self) -> Self:
        """The same in minutes: one seed and draw, the fewest labels, short trainings, in a folder of its own."""
        changes: dict[str, Any] = {
            "output": f"{self.output.rstrip('/')}/quick",
            "seeds": self.seeds[:1],
            "training": _shortened(self.training, 100),
            "contenders": {name: _shortened(contender, 50) for name, contender in self.contenders.items()},
        }
        if self.real_labelled:
            above_zero = sorted(n for n in self.real_labelled.counts if isinstance(n, int) and n > 0)
            counts = (*(n for n in self.real_labelled.counts if n == 0), *above_zero[:1])
            changes["real_labelled"] = self.real_labelled.model_copy(
                update={"draws": 1, "counts": counts or self.real_labelled.counts[:1]}
            )
        if self.measures:
            changes["measures"] = self.measures.model_copy(update={"images": min(self.measures.images, 40)})
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _real_only_has_real_images(self) -> Self:
        only = [name for name, contender in self.contenders.items() if isinstance(contender, RealOnlyConfig)]
        if only and self.real_labelled is None:
            raise ValueError(f"contender {only[0]} trains on real labelled images alone; set real_labelled")
        return self


def _shortened(config: Any, steps: int) -> Any:
    """The same with fewer steps, its own and those of all that it is made of."""
    match config:
        case ChainConfig():
            return config.model_copy(update={"parts": tuple(_shortened(part, steps) for part in config.parts)})
        case SelfTrainingConfig():
            return config.model_copy(update={"images": _shortened(config.images, steps)})
        case _ if hasattr(config, "steps"):
            return config.model_copy(update={"steps": min(config.steps, steps)})
        case _:
            return config
