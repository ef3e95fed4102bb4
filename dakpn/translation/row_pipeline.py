"""From encoded rows to translated, encoded rows: codecs in threads beside the net and the function.

Rows come out in the order in which they went in, and no result depends on which thread made it, so the bytes do not
depend on the number of threads. The encoder sees as many images at a time as the translator says, always as many, so
the bytes do not depend on which images those are. On CPUs a batch of 8 is no faster for the small encoder and a tenth
faster for FCN-ResNet50.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dakpn.config import ParamsPrecision
from dakpn.datasets.manifest import Content, RowRecord
from dakpn.datasets.quarantine import QuarantinedRow
from dakpn.datasets.schema import Sample
from dakpn.datasets.threads import map_in_pool
from dakpn.errors import DataError
from dakpn.images import codec
from dakpn.models.predictor import ImageFeatures
from dakpn.translation.shard_rows import InputRow
from dakpn.translation.stored_features import as_stored, listed_looks, to_stored
from dakpn.translation.stored_params import ParamsRow
from dakpn.translation.translator import EncoderInput, Translated, Translator

Spent = Callable[[str, float], None]
"""Is told the seconds that a stage took, for a row or for a batch: "decode", "translate" or "encode"; from several
threads."""


class OutputSettings(Protocol):
    """What is made of an image; see `TranslateConfig`."""

    @property
    def content(self) -> Content:
        """Pixels, or params."""
        ...

    @property
    def jpeg_quality(self) -> int:
        """1..100."""
        ...

    @property
    def precision(self) -> ParamsPrecision:
        """Of stored params."""
        ...

    @property
    def draws(self) -> int:
        """To list with the params."""
        ...


@dataclass(frozen=True, slots=True)
class TranslatedRow:
    """What became of a row: a translated sample, its params, or an entry for the quarantine; one of the three."""

    record: RowRecord
    sample: Sample | None
    quarantined: QuarantinedRow | None
    bytes_in: int
    params: ParamsRow | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """A row on its way; `pixels` [H, W, 3] are its image, decoded, `shares` its label's classes.

    `translated` waits for the translated image; `features` are of the image where params are asked for.
    """

    source: InputRow
    error: str | None
    pixels: NDArray[np.uint8] | None = None
    shares: NDArray[np.uint8] | None = None
    translated: Translated | None = None
    features: ImageFeatures | None = None


def translate_rows(
    translator: Translator,
    settings: OutputSettings,
    rows: Iterable[InputRow],
    uri: str,
    *,
    threads: int = 1,
    spent: Spent = lambda stage, seconds: None,
) -> Iterator[TranslatedRow]:
    """Translate the rows of the shard `uri` in their order; each comes out once, if only for the quarantine.

    Args:
        translator: Does its work in the thread that iterates.
        settings: What is to be made of the images.
        rows: Of the input.
        uri: Of the input shard, for messages and records.
        threads: That decode and encode; 0 does all in the thread that iterates. Each holds an image or two, and there
            is a batch of the encoder's beside them.
        spent: See `Spent`.
    """
    decode = partial(_decode, translator=translator, uri=uri, spent=spent)
    translate = partial(_translate, translator=translator, content=settings.content, spent=spent)
    encode = partial(_encode, translator=translator, uri=uri, settings=settings, spent=spent)
    if not threads:
        yield from map(encode, translate(map(decode, rows)))
        return
    in_flight = threads + 1
    with ThreadPoolExecutor(threads, thread_name_prefix="codec") as pool:
        decoded = map_in_pool(pool, decode, rows, in_flight)
        yield from map_in_pool(pool, encode, translate(decoded), in_flight)


def _decode(row: InputRow, translator: Translator, uri: str, spent: Spent) -> _Row:
    sample = row.sample
    if row.error is not None or sample is None:
        return _Row(row, row.error)
    with _timed("decode", spent):
        try:
            pixels = _decoded(sample, uri)
            return _Row(row, None, pixels, translator.label_shares(sample.label, f"{uri}: {sample.label_path}"))
        except DataError as error:
            return _Row(row, str(error))


def _decoded(sample: Sample, uri: str) -> NDArray[np.uint8]:
    origin = f"{uri}: {sample.image_path}"
    image = codec.decode_image(sample.image, origin)
    if sample.label is not None:
        label_size = codec.image_size(sample.label, f"{uri}: {sample.label_path}")
        if label_size != image.shape[:2]:
            raise DataError(f"{origin}: label and image differ in size; expected equal sizes: pack it again")
    return image


def _translate(rows: Iterable[_Row], translator: Translator, content: Content, spent: Spent) -> Iterator[_Row]:
    for batch in _batches(rows, translator.encoder_batch):
        with _timed("translate", spent):
            images = [
                EncoderInput(translator.send(row.pixels), row.source.key, translator.send(row.shares))
                for row in batch
                if row.pixels is not None
            ]
            found = iter(zip(images, translator.features_of_batch(images) if images else (), strict=True))
        for row in batch:
            if row.pixels is None:
                yield row
            elif content == "params":
                yield replace(row, features=next(found)[1])
            else:
                with _timed("translate", spent):
                    image, features = next(found)
                    translated = translator.begin(image, as_stored(features, translator.precision))
                yield replace(row, translated=translated)


def _batches(rows: Iterable[_Row], images: int) -> Iterator[list[_Row]]:
    """Yield runs of the rows that hold so many images each, but for the last; damaged rows come along."""
    batch: list[_Row] = []
    found = 0
    for row in rows:
        batch.append(row)
        found += row.pixels is not None
        if found == images:
            yield batch
            batch, found = [], 0
    if batch:
        yield batch


def _encode(row: _Row, translator: Translator, uri: str, settings: OutputSettings, spent: Spent) -> TranslatedRow:
    source, before = row.source, row.source.sample
    if row.pixels is None or before is None:
        return _quarantined(row, uri)
    with _timed("encode", spent):
        height, width = row.pixels.shape[:2]
        record = RowRecord(
            key=source.key,
            source=uri,
            source_sha256=_sha256(before.image),
            image_sha256=None,
            label_sha256=_sha256(before.label),
            height=height,
            width=width,
            status="done",
            reason=None,
        )
        if row.features is not None:
            looks = listed_looks(translator, source.key, settings.draws)
            params = to_stored(row.features, record, source.position, settings.precision, looks)
            return TranslatedRow(record, None, None, source.bytes, params)
        if row.translated is None:
            raise RuntimeError("a row without features is translated, got neither")
        kind = codec.image_format(before.image, uri)
        after = replace(before, image=codec.encode_image(row.translated(), kind, settings.jpeg_quality))
        record = record.model_copy(update={"image_sha256": _sha256(after.image)})
    return TranslatedRow(record, after, None, source.bytes)


def _quarantined(row: _Row, uri: str) -> TranslatedRow:
    source, sample = row.source, row.source.sample
    reason = row.error or "the row could not be read"
    image, label = (None, None) if sample is None else (sample.image, sample.label)
    paths = (None, None) if sample is None else (sample.image_path, sample.label_path)
    kept = QuarantinedRow(source.key, reason, source.position, image, paths[0], label, paths[1])
    record = RowRecord(
        key=source.key,
        source=uri,
        source_sha256=_sha256(image),
        image_sha256=None,
        label_sha256=_sha256(label),
        height=0,
        width=0,
        status="quarantined",
        reason=reason,
    )
    return TranslatedRow(record, None, kept, source.bytes)


@contextmanager
def _timed(stage: str, spent: Spent) -> Iterator[None]:
    start = time.perf_counter()
    yield
    spent(stage, time.perf_counter() - start)


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
