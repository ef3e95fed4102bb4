"""Settings of `dakpn translate`, `dakpn verify` and `dakpn demo`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from dakpn.config.base import Config, Fraction, Steps, Unit

ParamsPrecision = Literal["float32", "float16", "uint8"]
"""What an encoder's logits are rounded to, ahead of the head and in stored params."""


class TranslateConfig(Config):
    """`dakpn translate`: one output shard per input shard."""

    weights: str = Field(description="URI of trained predictor weights")
    input: str = Field(description="URI of a packed dataset")
    output: str = Field(description="URI of the translated dataset")
    content: Literal["pixels", "params"] = Field(
        default="pixels",
        description="images, or what transform params depend on: tens to hundreds of times smaller, applied on the fly "
        "by TranslatingDataset with any strength, style and draw",
    )
    precision: ParamsPrecision = Field(
        default="float16",
        description="what the encoder's logits are rounded to; uint8 params take half the room of float16. Pixels and "
        "params of the same precision are the same images",
    )
    draws: PositiveInt = Field(
        default=1, description="looks to list with the params of each image, from number `draw` on; pixels have one"
    )
    encoder_batch: Annotated[int, Field(ge=1, le=256), Unit("images")] = Field(
        default=1,
        description="images of a shard that the encoder sees at a time: 8 or more where it is large and there is a "
        "GPU; on CPUs, and with weights that look at labels alone, it gains nothing",
    )
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
    workers: NonNegativeInt | tuple[PositiveInt, PositiveInt] = Field(
        default=2,
        description="workers that translate side by side: a number, or [min, max] to grow and shrink with the cluster; "
        "0 translates in this process, without Ray",
    )
    decode_workers: Annotated[int, Field(ge=0), Unit("threads")] = Field(
        default=1, description="threads of a worker that decode and encode beside the net; 0 does all in one"
    )
    num_gpus: Annotated[float, Field(ge=0), Unit("GPUs")] = Field(
        default=0.0, description="GPUs of a worker for net and function; below 1, several workers share one"
    )
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = Field(
        default=95, description="quality of output images whose input is JPEG; those of PNG stay without loss"
    )
    max_pixels_in_flight: Annotated[PositiveInt, Unit("pixels")] = Field(
        default=4_000_000, description="bounds the memory of one worker; does not change a bit of the output"
    )
    prefetch_bytes: Annotated[PositiveInt, Unit("bytes")] = Field(
        default=64 * 2**20, description="encoded rows of the next shard that a worker reads while it translates one"
    )
    max_bad_fraction: Fraction = Field(
        default=0.01, description="share of all rows that may end in the quarantine before the job gives up"
    )
    price_per_worker_hour: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="what an hour of one worker costs, for the estimate of --dry-run"
    )

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, workers: object) -> object:
        if type(workers) is int and workers >= 0:
            return workers
        limits = list(workers) if isinstance(workers, list | tuple) else []
        numbers = [limit for limit in limits if type(limit) is int and limit >= 1]
        if len(numbers) == len(limits) == 2 and numbers[0] <= numbers[1]:
            return workers
        raise ValueError("expected a number, 0 (this process alone) or more, or [min, max] with 1 <= min <= max")

    @model_validator(mode="after")
    def _fits_its_content(self) -> Self:
        if self.content == "pixels" and self.draws > 1:
            raise ValueError(
                f"got draws={self.draws} with content=pixels, expected 1: an image has one look; translate into an "
                "output of its own for each draw (draw=0, draw=1, ...), or take content=params"
            )
        if self.content == "params" and (self.strength != 1 or self.refinement is not None or self.style is not None):
            raise ValueError(
                "strength, refinement and style are chosen when params are applied; give them to TranslatingDataset, "
                "or take content=pixels"
            )
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """All that the bytes of the output depend on, besides weights and input, as JSON.

        A batch of one is left out, so that outputs of versions that knew no other are not made again.
        """
        names = {"precision", "draw"} | ({"encoder_batch"} if self.encoder_batch > 1 else set())
        of_content = {"params": {"content", "draws"}, "pixels": {"strength", "refinement", "style", "jpeg_quality"}}
        return self.model_dump(mode="json", include=names | of_content[self.content])

    @property
    def fewest_workers(self) -> int:
        """Number of workers that the job starts with, and waits for."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """Number of workers that the job grows to."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class VerifyConfig(Config):
    """`dakpn verify`: compare an output dataset with its input."""

    input: str = Field(description="URI of the packed dataset that was translated")
    output: str = Field(description="URI of the translated dataset")
    workers: PositiveInt = Field(
        default=2, description="shards compared side by side; 1 compares in this process, without Ray"
    )
    decode: bool = Field(
        default=False, description="decode every image: finds damaged JPEG data, which has no checksums"
    )
    weights: str | None = Field(default=None, description="URI of weights to translate images with again")
    sample: Annotated[PositiveInt, Unit("images")] | None = Field(
        default=None, description="images of each shard to translate again; all if none"
    )
    seed: int | None = Field(
        default=None, description="seed of the sample; drawn anew if none, so that no forger knows it"
    )
    tolerance: Annotated[int, Field(ge=0, le=255), Unit("grey levels")] = Field(
        default=0, description="by how much a pixel may differ; 1 if another kind of device translated"
    )

    @model_validator(mode="after")
    def _weights_for_a_sample(self) -> Self:
        if self.weights is None and (self.sample is not None or self.tolerance):
            raise ValueError("sample and tolerance are about images translated again; give weights, too")
        return self


class DemoConfig(Config):
    """`dakpn demo`: the whole workflow on one machine."""

    out: Path = Field(default=Path("runs/demo"), description="folder for everything that the demo makes")
    synthetic: Path | None = Field(default=None, description="folder of synthetic images and labels")
    synthetic_dataset: str = Field(default="camvid", description="preset that describes `synthetic`")
    real: Path | None = Field(default=None, description="folder of real images; labels are used for scoring only")
    real_dataset: str = Field(default="camvid", description="preset that describes `real`")
    synthetic_count: Annotated[PositiveInt, Unit("images")] = Field(
        default=400, description="synthetic images to render, where no folder is given"
    )
    real_count: Annotated[PositiveInt, Unit("images")] = Field(
        default=240, description="photographs to simulate for training, where no folder is given"
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), description="seeds of the segmenters of the evaluation")
    encoder_steps: Steps = Field(default=300, description="updates of the encoder")
    steps: Steps = Field(default=200, description="updates of the predictor")
    segmenter_steps: Steps = Field(default=300, description="updates of each segmenter of the evaluation")
    workers: Annotated[int, Field(ge=0)] = Field(
        default=0, description="training workers on Ray; 0 trains in this process"
    )
