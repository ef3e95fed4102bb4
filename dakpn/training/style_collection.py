"""Collect a style bank from real images once, and keep it in the run folder for every rank and every resume."""

from collections.abc import Iterable, Sequence

import numpy as np
import safetensors
import torch
from safetensors.torch import load, save

from dakpn.data import storage
from dakpn.data.schema import Sample
from dakpn.data.training_samples import low_res_example
from dakpn.errors import TrainingError
from dakpn.models.segmenter import Segmenter
from dakpn.models.style import ColorMoments, color_moments
from dakpn.training.batches import collate

_MOMENTS, _KEYS = "moments.safetensors", "keys.json"


@torch.no_grad()
def collect_styles(uri: str, samples: Iterable[Sample], encoder: Segmenter, size: tuple[int, int]) -> None:
    """Write the colour moments and keys of real images; the classes in them are the encoder's guess.

    Args:
        uri: of the folder to write; see `read_styles`.
        samples: the real images; labels are not looked at.
        encoder: the frozen source segmenter, in eval mode.
        size: (h, w) at which moments are taken, the prediction size.
    """
    device = next(encoder.parameters()).device
    prepare, keys, moments = low_res_example(size), [], []
    for sample in samples:
        low = collate([prepare(sample, np.random.default_rng(0))])["low"].to(device)
        moments.append(color_moments(low, encoder(low).softmax(1)))
        keys.append(sample.key)
    tensors = {
        name: torch.cat([getattr(entry, name) for entry in moments]).cpu().contiguous() for name in ColorMoments._fields
    }
    storage.write_bytes(storage.join(uri, _MOMENTS), save(tensors))
    storage.write_json(storage.join(uri, _KEYS), keys)


def has_styles(uri: str) -> bool:
    """Whether `collect_styles` finished here."""
    return storage.exists(storage.join(uri, _KEYS))


def copy_styles(uri: str, to: str) -> None:
    """Copy what `collect_styles` wrote; nothing if there is nothing, or if it is there already."""
    if not has_styles(uri) or has_styles(to):
        return
    for name in (_MOMENTS, _KEYS):  # the mark that it is whole goes last
        storage.write_bytes(storage.join(to, name), storage.read_bytes(storage.join(uri, name)))


def read_styles(uri: str) -> tuple[Sequence[str], ColorMoments]:
    """The keys of the real images and their moments [K, ...]. Raises `TrainingError` if damaged."""
    try:
        keys = storage.read_json(storage.join(uri, _KEYS))
        tensors = load(storage.read_bytes(storage.join(uri, _MOMENTS)))
        return keys, ColorMoments(**tensors)
    except (TypeError, ValueError, safetensors.SafetensorError) as error:
        raise TrainingError(
            f"the style bank {uri} is damaged ({error}); expected {_MOMENTS} and {_KEYS}: delete the folder and run "
            "the same command again"
        ) from error
