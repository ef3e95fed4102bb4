"""Between an image's features and what is stored of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dakpn.config import ParamsPrecision
from dakpn.datasets.manifest import RowRecord
from dakpn.errors import WeightsError
from dakpn.models.function.noise import noise_seed
from dakpn.models.predictor import ImageFeatures
from dakpn.models.style import ColorMoments
from dakpn.translation.on_device import rounded_logits
from dakpn.translation.stored_params import ParamsRow, StoredLogits, StoredLook

if TYPE_CHECKING:
    from dakpn.translation.translator import Translator

_MOMENTS_TOLERANCE = 1e-4
_STEPS, _LOGITS_TOLERANCE = 1.5, 1e-3
"""Steps of rounding, and beside them, that logits computed by another machine may be away."""


def to_stored(
    features: ImageFeatures, record: RowRecord, position: int, precision: ParamsPrecision, looks: Sequence[StoredLook]
) -> ParamsRow:
    """Return what is stored of the features of one image.

    Args:
        features: of a batch of one, on any device, not rounded yet.
        record: of the image's row.
        position: of the row in its shard.
        precision: of the logits.
        looks: to be listed.

    Raises:
        WeightsError: the features are not finite.
    """
    moments = None
    if features.moments is not None:
        flat = features.moments.flat()[0].cpu()
        _require_finite(flat)
        moments = tuple(flat.tolist())
    return ParamsRow(
        key=record.key,
        position=position,
        source_sha256=record.source_sha256 or "",
        label_sha256=record.label_sha256,
        height=record.height,
        width=record.width,
        moments=moments,
        logits=_stored_logits(features, precision),
        looks=tuple(looks),
    )


def from_stored(row: ParamsRow) -> ImageFeatures:
    """Return the features of one image, as rounded as they are stored, on the CPU."""
    logits = None if row.logits is None else _restored(row.logits)
    moments = None if row.moments is None else ColorMoments.from_flat(torch.tensor([row.moments]))
    return ImageFeatures(logits, moments)


def as_stored(features: ImageFeatures, precision: ParamsPrecision) -> ImageFeatures:
    """Return the features of one image as `from_stored` would give them, on the device they are on.

    The job that makes pixels works on these, too. So stored params give its very bytes, in every look: f is steep (the
    hue of what is almost grey is almost anything, and a saturation bias shows it), so that no rounding is small enough
    to move every pixel by a grey level at most.

    Raises:
        WeightsError: the logits are not finite; on another device than the CPU, their params tell it later.
    """
    if features.coarse_logits is None:
        return features
    if features.coarse_logits.device.type != "cpu":
        return features._replace(coarse_logits=rounded_logits(features.coarse_logits.float(), precision))
    logits = _stored_logits(features, precision)
    return features if logits is None else features._replace(coarse_logits=_restored(logits))


def listed_looks(translator: "Translator", key: str, draws: int) -> tuple[StoredLook, ...]:
    """Return what so many draws, from the translator's own on, give to an image."""
    keys = translator.predictor.config.style_keys
    found = []
    for draw in range(translator.draw, translator.draw + draws):
        look = replace(translator, draw=draw).look(key)
        style = keys[look.style % len(keys)] if keys else None
        found.append(StoredLook(style, look.refinement, noise_seed(key, draw)))
    return tuple(found)


def params_difference(found: ParamsRow, expected: ParamsRow) -> str | None:
    """Return in what a stored row differs from the one expected, by more than rounding; None if it does not."""
    for name in ("moments", "logits"):
        if (getattr(found, name) is None) != (getattr(expected, name) is None):
            return f"the {name} are missing" if getattr(found, name) is None else f"the {name} are too much"
    if found.looks != expected.looks:
        return f"the looks are {list(found.looks)}, expected {list(expected.looks)}"
    if found.moments is not None and expected.moments is not None:
        gap = np.abs(np.subtract(found.moments, expected.moments)).max() if _same_size(found, expected) else np.inf
        if not gap <= _MOMENTS_TOLERANCE:
            return f"the color moments differ by up to {gap:.3g}"
    if found.logits is None or expected.logits is None:
        return None
    if found.logits.shape != expected.logits.shape:
        return f"the logits have the shape {list(found.logits.shape)}, expected {list(expected.logits.shape)}"
    gaps = np.abs(found.logits.restored() - expected.logits.restored())
    if bool((gaps <= _STEPS * expected.logits.steps() + _LOGITS_TOLERANCE).all()):
        return None
    return f"the logits differ by up to {gaps.max():.3g}"


def _stored_logits(features: ImageFeatures, precision: ParamsPrecision) -> StoredLogits | None:
    if features.coarse_logits is None:
        return None
    logits = features.coarse_logits[0].float().cpu()
    _require_finite(logits)
    return StoredLogits.of(logits.numpy(), precision)


def _restored(logits: StoredLogits) -> torch.Tensor:
    return torch.from_numpy(logits.restored())[None]


def _require_finite(values: torch.Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise WeightsError(
            "the encoder's logits are not finite; expected numbers: the weights are damaged, train again"
        )


def _same_size(found: ParamsRow, expected: ParamsRow) -> bool:
    return len(found.moments or ()) == len(expected.moments or ())
