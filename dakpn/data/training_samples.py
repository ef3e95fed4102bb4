"""From an encoded sample to the arrays that one training example needs. All arrays are uint8 and channel-first."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dakpn.data import codec
from dakpn.data.class_shares import class_shares
from dakpn.data.datasets import LabelSpace
from dakpn.data.schema import Sample
from dakpn.errors import DataError

Arrays = dict[str, np.ndarray]
Prepare = Callable[[Sample, np.random.Generator], Arrays]


def labelled_example(label_space: LabelSpace, size: tuple[int, int]) -> Prepare:
    """Image [3, h, w] and train ids [h, w] of a labelled sample, both resized to `size`."""

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.resize_image(codec.decode_image(sample.image, sample.image_path), size)
        label = codec.resize_label(_label(sample), size)
        return {"image": channel_first(image), "label": label_space.to_train_ids(label, str(sample.label_path))}

    return prepare


def synthetic_example(
    low_size: tuple[int, int], patch_size: tuple[int, int], label_space: LabelSpace | None = None
) -> Prepare:
    """What the predictor needs of a synthetic sample.

    `synthetic_low` [3, h, w], `synthetic_patch` [3, H', W'], the patch's `synthetic_window` (6 numbers),
    `synthetic_style` and `synthetic_noise`, numbers that choose its style and its noise; given the classes, also
    `synthetic_classes` [C, h, w], the share of each in each low-res pixel, from the sample's label.
    """

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.decode_image(sample.image, sample.image_path)
        top, left = _random_corner(image, patch_size, sample.key, rng)
        window = np.array([*image.shape[:2], top, left, *patch_size], dtype=np.int64)
        arrays = {
            "synthetic_low": channel_first(codec.resize_image(image, low_size)),
            "synthetic_patch": channel_first(_crop(image, top, left, patch_size)),
            "synthetic_window": window,
            "synthetic_style": np.array(rng.integers(2**31)),
            "synthetic_noise": np.array(rng.integers(2**32)),
        }
        if label_space is not None:
            train_ids = label_space.to_train_ids(_label(sample), str(sample.label_path))
            arrays["synthetic_classes"] = class_shares(train_ids, label_space.num_classes, low_size)
        return arrays

    return prepare


def real_example(low_size: tuple[int, int], patch_size: tuple[int, int]) -> Prepare:
    """`real_low` [3, h, w] and `real_patch` [3, H', W']; a label, if there is one, is never looked at."""

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.decode_image(sample.image, sample.image_path)
        top, left = _random_corner(image, patch_size, sample.key, rng)
        return {
            "real_low": channel_first(codec.resize_image(image, low_size)),
            "real_patch": channel_first(_crop(image, top, left, patch_size)),
        }

    return prepare


def low_res_example(low_size: tuple[int, int]) -> Prepare:
    """`low` [3, h, w] of a real sample, for the style bank."""

    def prepare(sample: Sample, rng: np.random.Generator) -> Arrays:
        image = codec.decode_image(sample.image, sample.image_path)
        return {"low": channel_first(codec.resize_image(image, low_size))}

    return prepare


def _label(sample: Sample) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if sample.label is None or sample.label_path is None:
        raise DataError(
            f"{sample.key} has no label; expected a labelled dataset, which segmentation and label-conditioned "
            "translation need: pack it with labels"
        )
    return codec.decode_label(sample.label, sample.label_path)


def _random_corner(
    image: np.ndarray, patch_size: tuple[int, int], key: str, rng: np.random.Generator
) -> tuple[int, int]:
    height, width = image.shape[:2]
    if height < patch_size[0] or width < patch_size[1]:
        raise DataError(
            f"image {key} has {height} x {width} pixels, smaller than the training patch of "
            f"{patch_size[0]} x {patch_size[1]}; lower adversarial.patch_size"
        )
    top = rng.integers(0, height - patch_size[0] + 1)
    left = rng.integers(0, width - patch_size[1] + 1)
    return int(top), int(left)


def _crop(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    return image[top : top + size[0], left : left + size[1]]


def channel_first(image: np.ndarray) -> np.ndarray:
    """Return [H, W, 3] as a new [3, H, W]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))
