"""How training decodes: from a stored sample to the arrays of one training example, uint8 and channel-first.

Each `*_decoder` returns a `dakpn.datasets.stream.Prepare`, a function of a sample and a random generator. What the
arrays mean together is said by the batches that are made of them, in `dakpn.training.data`.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from dakpn.datasets.class_shares import label_shares
from dakpn.datasets.label_space import LabelSpace
from dakpn.datasets.schema import Sample
from dakpn.datasets.stream import Arrays, Prepare
from dakpn.errors import DataError
from dakpn.images import codec

Size = tuple[int, int]


def labelled_decoder(label_space: LabelSpace, size: Size) -> Prepare:
    """Decode image and label: `image` [3, h, w] and train ids `label` [h, w], both resized to `size`."""
    prepare_label = label_decoder(label_space, size)

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.resize_image(codec.decode_image(sample.image, sample.image_path), size)
        return {"image": channel_first(image), **prepare_label(sample, rng)}

    return prepare


def label_decoder(label_space: LabelSpace, size: Size) -> Prepare:
    """Decode the label alone: train ids `label` uint8 [h, w], resized to `size`."""

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        label = codec.resize_label(_label(sample), size)
        return {"label": label_space.to_train_ids(label, str(sample.label_path))}

    return prepare


def synthetic_decoder(low_size: Size, patch_size: Size, label_space: LabelSpace | None = None) -> Prepare:
    """Decode what the predictor needs of a synthetic sample.

    `low` [3, h, w]; `patch` [3, H', W'], its `corner` int64 [2] (top, left) in the image and the image's `full_size`
    int64 [2] (H, W); `style` and `noise_seed`, int64, numbers that choose its style and its noise; `image_number`,
    int64, see `key_number`; and, given the classes, `class_shares` [C, h, w] of its label
    (`dakpn.datasets.class_shares`).
    """

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.decode_image(sample.image, sample.image_path)
        corner = _random_corner(image, patch_size, sample.key, rng)
        arrays = {
            "low": channel_first(codec.resize_image(image, low_size)),
            "patch": _crop(image, corner, patch_size),
            "corner": np.array(corner, dtype=np.int64),
            "full_size": np.array(image.shape[:2], dtype=np.int64),
            "style": np.array(rng.integers(2**31)),
            "noise_seed": np.array(rng.integers(2**32)),
            "image_number": np.array(key_number(sample.key)),
        }
        if label_space is not None:
            arrays["class_shares"] = label_shares(_label(sample), label_space, low_size, str(sample.label_path))
        return arrays

    return prepare


def real_decoder(low_size: Size, patch_size: Size) -> Prepare:
    """Decode a real image: `low` [3, h, w] and `patch` [3, H', W']; its label, if it has one, is never read."""

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.decode_image(sample.image, sample.image_path)
        corner = _random_corner(image, patch_size, sample.key, rng)
        return {
            "low": channel_first(codec.resize_image(image, low_size)),
            "patch": _crop(image, corner, patch_size),
        }

    return prepare


def style_decoder(low_size: Size) -> Prepare:
    """Decode a real image for the style bank: `low` [3, h, w], and its `key`, a string."""

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.decode_image(sample.image, sample.image_path)
        return {"low": channel_first(codec.resize_image(image, low_size)), "key": np.array(sample.key)}

    return prepare


def key_number(key: str) -> int:
    """A 63-bit number for an image key; among a million images two share one with a chance of 1 in 18 million."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1


def channel_first(image: np.ndarray) -> np.ndarray:
    """Return [H, W, 3] as a new [3, H, W]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _label(sample: Sample) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if sample.label is None or sample.label_path is None:
        raise DataError(
            f"{sample.key} has no label; expected a labelled dataset, which segmentation and label-conditioned "
            "translation need: pack it with labels"
        )
    return codec.decode_label(sample.label, sample.label_path)


def _random_corner(image: np.ndarray, patch_size: Size, key: str, rng: np.random.Generator) -> tuple[int, int]:
    height, width = image.shape[:2]
    if height < patch_size[0] or width < patch_size[1]:
        raise DataError(
            f"image {key} has {height} x {width} pixels, smaller than the training patch of "
            f"{patch_size[0]} x {patch_size[1]}; lower adversarial.patch_size"
        )
    top = rng.integers(0, height - patch_size[0] + 1)
    left = rng.integers(0, width - patch_size[1] + 1)
    return int(top), int(left)


def _crop(image: np.ndarray, corner: tuple[int, int], size: Size) -> np.ndarray:
    top, left = corner
    return channel_first(image[top : top + size[0], left : left + size[1]])
