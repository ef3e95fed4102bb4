"""The other commands: translate, verify, evaluate, demo."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from dakpn.config.base import Config, Fraction
from dakpn.config.networks import NetworkConfig, SegmenterTrainingConfig, SmallNetworkConfig


class TranslateConfig(Config):
    """`dakpn translate`: one output shard per input shard."""

    weights: str = Field(description="URI of trained predictor weights")
    input: str = Field(description="URI of a packed dataset")
    output: str = Field(description="URI of the translated dataset")
    strength: Fraction = Field(default=1.0, description="0 is the exact identity, 1 the full translation")
    refinement: tuple[Fraction, Fraction] | None = Field(
        default=None,
        description="range of the strength of the trained head on top of the style, drawn for each image; the default "
        "is that of the weights",
    )
    style: str | None = Field(
        default=None, description="key of the real image whose style all images take; the default draws one for each"
    )
    draw: Annotated[int, Field(ge=0)] = Field(
        default=0, description="number of the draw of style, refinement and noise; the seed is (draw, key)"
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
