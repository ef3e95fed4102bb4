"""`dakpn pack` and `dakpn check`: what to take of a dataset as it was published, and what to make of it."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from dakpn.config.base import Config

FormatName = Literal["parquet", "webdataset", "folder"]
"""Names of the formats that a packed dataset's shards can have."""

CheckDepth = Literal["pixels", "headers"]
"""How closely rows are looked at: every pixel and label id, or the headers of image and label alone."""

Orientation = Literal["shown", "stored"]
"""How a label lies that fits both the picture as viewers show it, and the pixels as they are stored."""


class SourceConfig(Config):
    """Settings that say what is packed or checked."""

    source: str = Field(
        description="URI of a folder of images and labels, a packed dataset, or .parquet or .tar files; also s3://"
    )
    dataset: str | None = Field(
        default=None,
        description="preset that describes layout and classes, or the path of a YAML file of your own; camvid by "
        "default for images/ and labels/",
    )
    split: str | None = Field(
        default=None, description="one split to take, such as train, or `all`; needed where there are several"
    )
    labels: bool | None = Field(
        default=None, description="require labels, or leave them out; by default they are taken if there"
    )
    orientation: Orientation | None = Field(
        default=None,
        description="how labels of images with an orientation tag lie, where sizes do not tell: as viewers show the "
        "image, or as its pixels are stored; by default such images are refused",
    )


class PackConfig(SourceConfig):
    """`dakpn pack`: a dataset of any origin as checked shards, or a packed dataset in another format."""

    output: str = Field(description="URI of the packed dataset, a path or s3://..., where only this job writes")
    format: FormatName = Field(default="parquet", description="format of the packed dataset; parquet by default")
    rows_per_shard: PositiveInt | None = Field(
        default=None,
        description="images in one shard, 1 or more; by default up to 256 of about 64 MiB together, or as a packed "
        "source has them",
    )
    workers: PositiveInt = Field(
        default=1,
        description="shards packed at a time: 1 (the default) in this process, more as Ray tasks of one CPU each",
    )
    exclude: str | None = Field(
        default=None, description="URI of a file of `dakpn check --fix quarantine`, whose bad rows are left out"
    )
    keep: str | None = Field(
        default=None,
        description="PATTERN:LOW-HIGH keeps a part of every sequence: '([^/_]+)_:0.0-0.6' the first 60 % of the keys "
        "that share what the regular expression's group matches",
    )
    check: CheckDepth = Field(
        default="pixels",
        description="pixels (the default) decodes every image and label; headers reads no pixels and label ids, for a "
        "source that `dakpn check` has found clean",
    )


class CheckConfig(SourceConfig):
    """`dakpn check`: find all that is wrong with a dataset, and change nothing."""

    sample: PositiveInt | None = Field(
        default=None, description="images to decode, spread over the dataset; all by default"
    )
    seed: int = Field(default=0, description="seed of the sample; 0 by default")
    fix: Literal["quarantine"] | None = Field(
        default=None, description="quarantine lists bad and good rows in `output`"
    )
    output: str | None = Field(
        default=None, description="URI of the list of fix=quarantine, for `dakpn pack --exclude`"
    )

    @model_validator(mode="after")
    def _lists_all_rows_somewhere(self) -> Self:
        if (self.fix is None) != (self.output is None):
            raise ValueError(
                "fix=quarantine and output=URI (--fix quarantine and --output URI) belong together; got one of them"
            )
        if self.fix and self.sample is not None:
            raise ValueError(
                "got both sample and fix=quarantine; to tell good rows from bad all must be looked at: leave one out"
            )
        return self
