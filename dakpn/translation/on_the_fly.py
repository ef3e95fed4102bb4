"""Stored params applied as a net trains: one translation job serves any number of looks of every image.

dataset = TranslatingDataset("data/params", size=(512, 1024), augmentation=Augmentation())
loader = DataLoader(dataset, batch_size=8, shuffle=True, num_workers=4)
"""

import hashlib
from dataclasses import replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dakpn.datasets import manifest
from dakpn.datasets.schema import Sample
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.errors import DataError, UsageError
from dakpn.translation.params_dataset import ParamsReader, read_params_record, weights_uri
from dakpn.translation.stored_features import from_stored
from dakpn.translation.stored_params import ParamsRow
from dakpn.translation.translator import Translator

_DRAWS = 2**31
_LOOK_STREAM = 1
"""Tells the chance that draws looks from that of the views."""


class TranslatingDataset(SegmentationDataset):
    """The images of a dataset, translated as they are read; the rest is as in `SegmentationDataset`.

    An item is still a function of (seed, epoch, index) alone. Images that are quarantined in the params are left out.

    Example:
        ```python
        dataset = TranslatingDataset("data/params", size=(512, 1024), draw="random")
        for epoch in range(20):
            dataset.set_epoch(epoch)  # every image gets another style, refinement and noise
            for item in dataset:
                image, train_ids = item["image"], item["label"]
        ```

    Args:
        params_uri: Output of a translation with `content=params`, a path or `s3://`.
        input_uri: The dataset that was translated, if it lies elsewhere by now.
        strength: How far images are translated, 0 (the image itself) to 1.
        refinement: Range of the strength of the head's params on top of the style, 0..1; None: the weights' own.
        style: Key of the real image whose style all images take; None: each draws one.
        draw: Number of the draw of style, refinement and noise, as in the translation job; "random" takes another one
            for each item in each epoch, "listed" those that the job was asked for (`draws`), one an epoch, in turn.
        check_source: Make sure that every image, and every label that is looked at, is the one that the params are
            of, byte for byte; the shards' digests in the index are compared in any case.
        threads: CPU threads for one image.
        options: What `SegmentationDataset` takes: size, augmentation, label_space, seed, cache_bytes.

    Raises:
        UsageError: There are no finished params or no input, the input is another one, or the style is unknown.
        WeightsError: The copy of the weights beside the params is damaged or was changed.
        DataError: Something of the params is damaged.
        StorageError: It cannot be read.
    """

    def __init__(
        self,
        params_uri: str,
        input_uri: str | None = None,
        *,
        strength: float = 1.0,
        refinement: tuple[float, float] | None = None,
        style: str | None = None,
        draw: int | Literal["random", "listed"] = "random",
        check_source: bool = False,
        threads: int = 1,
        **options: Any,
    ) -> None:
        _require_fractions("strength", strength)
        _require_fractions("refinement", *(refinement or ()))
        if isinstance(draw, str) and draw not in ("random", "listed"):
            raise UsageError(f"got draw {draw!r}, expected a number, 'random' or 'listed'")
        stored = manifest.read_index(params_uri, "params")
        self._record = record = read_params_record(params_uri)
        super().__init__(input_uri or record.input, **options)
        index = manifest.read_index(self.uri)
        if index.digest != record.input_digest:
            raise UsageError(
                f"{self.uri} is not what the params {params_uri} were made of ({index.digest}, expected "
                f"{record.input_digest}); give input_uri where that lies, or translate again"
            )
        self.params_uri, self.draw, self.check_source = params_uri, draw, check_source
        self._params = ParamsReader(params_uri)
        self._starts = np.array([0, *accumulate(shard.rows for shard in stored.shards)])
        # Where rows are quarantined, an item's position in the params is not that in the input.
        self._positions = {
            number: self._params.positions(shard.name)
            for number, (shard, before) in enumerate(zip(stored.shards, index.shards, strict=True))
            if shard.rows != before.rows
        }
        settings = {"strength": strength, "refinement": refinement, "style": style, "threads": threads}
        pinned = f"{weights_uri(params_uri)}@{record.weights}"
        self._translator = Translator.load_without_encoder(pinned, **settings).for_dataset(index, self.uri)

    def place(self, index: int) -> tuple[int, int]:
        """Return the shard of an item, and its position in the input's. Raises `IndexError`."""
        shard, position = super().place(index)
        return shard, self._positions[shard][position] if shard in self._positions else position

    def params(self, index: int) -> ParamsRow:
        """Return what is stored of an item's image. Raises `DataError` and `StorageError`."""
        shard, position = super().place(index)
        return self._params.row(self._shards[shard], position)

    def decode(self, sample: Sample, index: int) -> NDArray[np.uint8]:
        """See `SegmentationDataset`."""
        row = self.params(index)
        self._require_match(sample, row)
        translator = replace(self._translator, draw=self._draw_of(index))
        origin = f"{self.uri}: {sample.key}"
        image = super().decode(sample, index)
        if image.shape[:2] != (row.height, row.width):
            raise self._changed(
                sample, f"has {image.shape[1]} x {image.shape[0]} pixels", f"{row.width} x {row.height}"
            )
        shares = translator.label_shares(sample.label, f"{origin}: label")
        return translator.translate_known(image, from_stored(row), sample.key, shares)

    def _draw_of(self, index: int) -> int:
        if isinstance(self.draw, int):
            return self.draw
        if self.draw == "listed":
            return self._record.draw + self.epoch % self._record.draws
        rng = np.random.default_rng([self.seed, self.epoch, index % len(self), _LOOK_STREAM])
        return int(rng.integers(_DRAWS))

    def _require_match(self, sample: Sample, row: ParamsRow) -> None:
        if sample.key != row.key:
            raise self._changed(sample, "is at this place", row.key)
        if not self.check_source:
            return
        looked_at: list[tuple[str, bytes | None, str | None]] = [("image", sample.image, row.source_sha256)]
        if self._translator.needs_label:
            looked_at.append(("label", sample.label, row.label_sha256))
        for name, data, expected in looked_at:
            found = None if data is None else hashlib.sha256(data).hexdigest()
            if found != expected:
                raise self._changed(sample, f"has the {name} {found}", expected)

    def _changed(self, sample: Sample, found: str, expected: object) -> DataError:
        return DataError(
            f"{self.uri}: {sample.key} {found}, expected {expected} as in {self.params_uri}: the input changed since "
            "it was translated; translate again"
        )


def _require_fractions(name: str, *values: float) -> None:
    if not all(0 <= value <= 1 for value in values) or list(values) != sorted(values):
        raise UsageError(f"got {name} {values}, expected 0 to 1, and a range from low to high")
