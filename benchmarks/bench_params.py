"""Stored params against translated PNG files: the room they take, how fast they load, and how far pixels are off."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from benchmarks.datasets import workspace, write_scenes
from benchmarks.measure import Claim, alternate, at_least, at_most
from benchmarks.recipes import SHIPPED, encoded_label, shipped_translator
from benchmarks.scenes import PREDICTION, image
from dakpn.config import (
    HeadConfig,
    ParamsPrecision,
    PredictorConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslateConfig,
    TranslationConfig,
)
from dakpn.datasets.segmentation_dataset import SegmentationDataset
from dakpn.images import codec
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import color_moments
from dakpn.models.weights import save_predictor
from dakpn.sources.pack import pack_dataset
from dakpn.sources.preset import load_preset
from dakpn.translation.job import translate_dataset
from dakpn.translation.on_the_fly import TranslatingDataset
from dakpn.translation.translator import Translator

_ROUNDS = 3
_IMAGES = 12
_SIZE = (540, 960)
_STYLES = ("dusk", "noon", "rain")
_Condition = Literal["encoder", "label"]


def run() -> Iterator[Claim]:
    """One core; the shipped recipe at 1914 x 1052, then images of 960 x 540 and predictors as wide as the demo's."""
    torch.set_num_threads(1)
    yield from _shipped()
    with workspace() as folder:
        source = str(folder / "source")
        scenes = write_scenes(folder / "scenes", _IMAGES, _SIZE, "png")
        pack_dataset(scenes, source, load_preset("camvid"), None, _IMAGES, True)
        for condition in ("encoder", "label"):
            yield from _compare(condition, source, folder / condition)


def _shipped() -> Iterator[Claim]:
    """From decoded image and label to params, beside the low-res resize that is the largest part of it."""
    translator, pixels = shipped_translator(), image()
    train_ids = translator.train_ids(encoded_label(), "benchmark")
    size = translator.predictor.config.prediction_size
    work = {
        "params": partial(translator.low_res_params, pixels, "key", train_ids),
        "resize": partial(codec.resize_image, pixels, size),
    }
    seconds = alternate(work, 9)
    yield at_most(f"{SHIPPED}: params vs their resize alone", 2.5, seconds["params"] / seconds["resize"], **seconds)


def _compare(condition: _Condition, source: str, folder: Path) -> Iterator[Claim]:
    weights = _weights(folder / "weights", condition)
    config = TranslateConfig(weights=weights, input=source, output=str(folder), decode_workers=0)
    label_bytes = sum(len(row.label or b"") for row in map(SegmentationDataset(source).sample, range(_IMAGES)))
    outputs: dict[ParamsPrecision, _Outputs] = {}
    precisions: tuple[ParamsPrecision, ...] = (
        ("float32", "float16", "uint8") if condition == "encoder" else ("float16",)
    )
    for precision in precisions:
        outputs[precision] = _translate_both(config, precision)
        pixels, params = outputs[precision]
        size, stored = _shard_bytes(pixels) - label_bytes, _shard_bytes(params)
        claim = f"images' PNG files vs params, bytes, {condition}, {precision}"
        yield at_least(claim, 20, size / stored, kb_png=size / _IMAGES / 1e3, kb_params=stored / _IMAGES / 1e3)
        gaps = _gaps(TranslatingDataset(params, draw=0), SegmentationDataset(pixels))
        claim = f"grey levels between params and translated files, {condition}, {precision}"
        yield at_most(claim, 0, float(gaps.max()))
        if precision != "float32" and condition == "encoder":
            gaps = _gaps(SegmentationDataset(pixels), SegmentationDataset(outputs["float32"].pixels))
            claim = f"of a million values, that {precision} moves by over a grey level"
            yield at_most(claim, 10, 1e6 * float((gaps > 1).mean()), most=int(gaps.max()), values=gaps.size)
    readers = {
        "png": partial(_read, SegmentationDataset(outputs["float16"].pixels)),
        "params": partial(_read, TranslatingDataset(outputs["float16"].params)),
        "net": partial(_translate_all, SegmentationDataset(source), Translator.load(weights)),
    }
    seconds = alternate(readers, _ROUNDS)
    rates = {name: _IMAGES / value for name, value in seconds.items()}
    claim = f"loading and applying params vs reading translated PNG files, seconds, {condition}"
    yield at_most(claim, 4, seconds["params"] / seconds["png"], **rates)
    claim = f"translating with the net vs applying params, seconds, {condition}"
    yield at_least(claim, 1.0, seconds["net"] / seconds["params"], **rates)


class _Outputs(NamedTuple):
    """URIs of two translations with the same settings."""

    pixels: str
    params: str


def _translate_both(config: TranslateConfig, precision: ParamsPrecision) -> _Outputs:
    of_content = (
        {"content": content, "precision": precision, "output": f"{config.output}/{precision}-{content}"}
        for content in ("pixels", "params")
    )
    return _Outputs(*(_translate(config.model_copy(update=update)) for update in of_content))


def _translate(config: TranslateConfig) -> str:
    translate_dataset(config)
    return config.output


def _gaps(found: SegmentationDataset, expected: SegmentationDataset) -> np.ndarray:
    """Grey levels between their images."""
    pairs = ((found[index]["image"], expected[index]["image"]) for index in range(_IMAGES))
    return np.stack([np.abs(one.astype(np.int16) - other) for one, other in pairs])


def _read(dataset: SegmentationDataset) -> None:
    for index in range(len(dataset)):
        dataset[index]


def _translate_all(dataset: SegmentationDataset, translator: Translator) -> None:
    """What on the fly was before: the whole net for each look."""
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        image = codec.decode_image(sample.image, sample.key)
        train_ids = translator.train_ids(sample.label, sample.key)
        dataclasses.replace(translator, draw=index).translate(image, sample.key, train_ids)


def _shard_bytes(dataset: str) -> int:
    return sum(path.stat().st_size for path in Path(dataset).glob("train-*"))


def _weights(folder: Path, condition: _Condition) -> str:
    space = load_preset("camvid").label_space
    config = PredictorConfig(
        num_classes=space.num_classes,
        prediction_size=PREDICTION,
        network=SmallNetworkConfig(),
        head=HeadConfig(condition=condition),
        translation=TranslationConfig(),
        style=StyleConfig(),
        style_keys=_STYLES,
    )
    torch.manual_seed(0)
    predictor = KernelPredictor(config)
    torch.nn.init.normal_(predictor.head.weight, std=0.3)
    torch.nn.init.normal_(predictor.encoder.get_parameter("classify.weight"), std=3)
    if predictor.style_bank is not None:
        real = (0.3 + 0.5 * torch.rand(len(_STYLES), 3, 1, 1) + 0.1 * torch.randn(len(_STYLES), 3, 24, 32)).clamp(0, 1)
        predictor.style_bank.fill(color_moments(real, torch.rand(len(_STYLES), space.num_classes, 24, 32).softmax(1)))
    save_predictor(str(folder), predictor, space, "random weights of the benchmark")
    return str(folder)
