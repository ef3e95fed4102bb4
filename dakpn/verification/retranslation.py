"""Translate images again and compare with what is stored: finds other weights, settings and tampered pixels."""

import random
from collections.abc import Container
from dataclasses import dataclass
from typing import Self

import numpy as np

from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import read_index
from dakpn.datasets.schema import Sample
from dakpn.images import codec
from dakpn.translation.row_pipeline import translate_rows
from dakpn.translation.shard_job import translate_sample
from dakpn.translation.shard_rows import InputRow
from dakpn.translation.stored_features import params_difference
from dakpn.translation.stored_params import ParamsRow
from dakpn.translation.translator import Translator, device_at_hand


@dataclass(frozen=True)
class Retranslation:
    """Translates a sample of a shard's rows again.

    Attributes:
        translator: With the weights that the dataset is said to be made with.
        config: The settings that it is said to be made with.
        sample: Images of each shard; None for all.
        seed: Seed of the sample.
        tolerance: Grey levels by which a pixel may differ, for translations on another kind of device.
    """

    translator: Translator
    config: TranslateConfig
    sample: int | None
    seed: int
    tolerance: int = 0

    @classmethod
    def load(cls, config: TranslateConfig, sample: int | None, seed: int, tolerance: int) -> Self:
        """Load the config's weights for its input. Raises `WeightsError`, and `UsageError` if they do not fit."""
        translator = Translator.of_job(config, read_index(config.input), device_at_hand(config))
        return cls(translator, config, sample, seed, tolerance)

    def picked(self, shard: str, rows: int) -> Container[int]:
        """Return which of the rows of a shard are in the sample: positions from 0."""
        if self.sample is None or self.sample >= rows:
            return range(rows)
        return set(random.Random(f"{self.seed}/{shard}").sample(range(rows), self.sample))  # noqa: S311 - no secret

    def difference(self, before: Sample, after: Sample, source: str, result: str) -> str | None:
        """Return a sentence on how the stored image differs from the translation of the input; None if it does not.

        Equal bytes are equal pixels. Other bytes may be: PNG files depend on the processor that compressed them.

        Args:
            before: Row of the input.
            after: The same row of the output, its image of the same size.
            source: URI of the input's shard, for errors.
            result: URI of the output's shard.

        Raises:
            DataError: An image cannot be decoded.
        """
        expected, _ = translate_sample(self.translator, self.config, before, source)
        if expected.image == after.image:
            return None
        origin = f"{result}: {after.key}"
        wanted = codec.decode_image(expected.image, origin)
        found = codec.decode_image(after.image, origin)
        gaps = np.abs(found.astype(np.int16) - wanted).max(axis=2)
        if gaps.max() <= self.tolerance:
            return None
        share = 100 * float((gaps > self.tolerance).mean())
        return (
            f"{result}: the image of {after.key} is not the translation with these weights and settings: {share:.2g} % "
            f"of its pixels differ, by up to {gaps.max()} grey levels"
        )


class Recomputation(Retranslation):
    """Computes the params of a sample of a shard's rows again."""

    def params_difference(self, before: Sample, row: ParamsRow, source: str, result: str) -> str | None:
        """Return a sentence on how stored params differ from those of the input's row; None but for rounding.

        Args:
            before: Row of the input.
            row: What is stored of it.
            source: URI of the input's shard, for errors.
            result: URI of the output's shard.
        """
        given = InputRow(row.position, before.key, before, None)
        (made,) = translate_rows(self.translator, self.config, [given], source, threads=0)
        if made.params is None:
            return f"{result}: {row.key} has params, but {made.record.reason}"
        difference = params_difference(row, made.params)
        return difference and f"{result}: the params of {row.key} are not those of these weights: {difference}"
