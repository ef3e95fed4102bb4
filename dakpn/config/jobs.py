"""The other commands: translate, verify, demo."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from dakpn.config.base import Config, Fraction


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
