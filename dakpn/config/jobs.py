"""The other commands: translate, verify, evaluate, demo."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, field_validator

from dakpn.config.base import Config, Fraction
from dakpn.config.networks import NetworkConfig, SegmenterTrainingConfig, SmallNetworkConfig


class TranslateConfig(Config):
    """`dakpn translate`: one output shard per input shard."""

    weights: str = Field(description="URI of trained predictor weights")
    input: str = Field(description="URI of a packed dataset")
    output: str = Field(description="URI of the translated dataset")
    strength: Fraction = Field(default=1.0, description="0 is the exact identity, 1 the full translation")
    draw: Annotated[int, Field(ge=0)] = Field(
        default=0, description="number of the noise draw; the seed is (draw, key)"
    )
    workers: PositiveInt | tuple[PositiveInt, PositiveInt] = Field(
        default=2, description="translating side by side: a number, or [min, max] to grow and shrink with the cluster"
    )
    decode_workers: Annotated[int, Field(ge=0)] = Field(
        default=1, description="threads of a worker that decode and encode beside the net; 0 does all in one"
    )
    num_gpus: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="GPUs of a worker for net and function; below 1, several workers share one"
    )
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    max_pixels_in_flight: PositiveInt = Field(
        default=4_000_000, description="bounds the memory of one worker; does not change a bit of the output"
    )
    prefetch_bytes: PositiveInt = Field(
        default=64 * 2**20, description="encoded rows of the next shard that a worker reads while it translates one"
    )
    max_bad_fraction: Fraction = Field(
        default=0.01, description="of all rows that may end in the quarantine before the job gives up"
    )
    price_per_worker_hour: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="what an hour of one worker costs, for the estimate of --dry-run"
    )

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, workers: object) -> object:
        limits = list(workers) if isinstance(workers, list | tuple) and len(workers) == 2 else [workers, workers]
        numbers = [limit for limit in limits if type(limit) is int and limit >= 1]
        if len(numbers) == 2 and numbers[0] <= numbers[1]:
            return workers
        raise ValueError("expected a number of at least 1, or [min, max]")

    @property
    def fewest_workers(self) -> int:
        """That the job starts with, and waits for."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """That the job grows to."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


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
