"""Predictor and translation function against a ResNet-9 generator of the CycleGAN and CUT kind.

The details hold the networks' floating-point operations. Where the encoder takes most of the time their ratio bounds
what can be measured, since both networks run at the processor's peak: FCN-ResNet50's 16 GFLOP at the prediction
resolution cannot be 120 times faster than the generator's 198 at 512 x 256.
"""

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Claim, alternate, at_least
from benchmarks.scenes import GTA5, PREDICTION, image
from dakpn.config import (
    FcnResnet50Config,
    HeadConfig,
    PredictorConfig,
    SmallNetworkConfig,
    StyleConfig,
    TranslationConfig,
)
from dakpn.datasets.label_space import LabelSpace
from dakpn.evaluation.baselines.generator import ResnetGenerator
from dakpn.models.predictor import KernelPredictor
from dakpn.translation.translator import Translator

_CITYSCAPES_CLASSES = 19
_SIZES = {(256, 512): 3, GTA5: 1}
"""Rounds by size: the generator takes about a minute for one full-res image."""
_TARGETS = {"small": 300, "fcn_resnet50": 120}


def run() -> Iterator[Claim]:
    """One core, one image at a time, from decoded pixels to translated pixels."""
    torch.set_num_threads(1)
    generator = ResnetGenerator().eval()
    ours = {kind: benchmark_translator(kind) for kind in _TARGETS}
    for size, rounds in _SIZES.items():
        pixels = image(size)
        work = {kind: partial(translator.translate, pixels, "key") for kind, translator in ours.items()}
        seconds = alternate(work, 5)
        seconds |= alternate({"generator": partial(_generate, generator, size)}, rounds, warm_up=False)
        gflop = {kind: _gflop(translator.predictor.encoder, PREDICTION) for kind, translator in ours.items()}
        gflop["generator"] = _gflop(generator, size)
        for kind, target in _TARGETS.items():
            claim = f"{kind} encoder + function vs ResNet-9 generator, {size[1]} x {size[0]}"
            yield at_least(claim, target, seconds["generator"] / seconds[kind], **seconds, gflop=gflop)


def benchmark_translator(kind: str) -> Translator:
    network = SmallNetworkConfig() if kind == "small" else FcnResnet50Config()
    config = PredictorConfig(
        num_classes=_CITYSCAPES_CLASSES,
        prediction_size=PREDICTION,
        network=network,
        head=HeadConfig(condition="encoder"),
        translation=TranslationConfig(),
        style=StyleConfig(kind="none"),
    )
    predictor = KernelPredictor(config)
    nn.init.normal_(predictor.head.weight, generator=torch.Generator().manual_seed(0))
    classes = tuple(f"class-{number}" for number in range(_CITYSCAPES_CLASSES))
    return Translator(predictor.eval().for_inference(), LabelSpace("benchmark", classes), "benchmark")


def _gflop(network: nn.Module, size: tuple[int, int]) -> float:
    """Operations for one image, a multiplication and an addition counted as two; nothing is computed."""
    height, width = (side - side % 4 for side in size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta")(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() / 1e9


@torch.inference_mode()
def _generate(generator: nn.Module, size: tuple[int, int]) -> None:
    height, width = (side - side % 4 for side in size)
    generator(torch.from_numpy(image(size)[:height, :width].copy()).permute(2, 0, 1)[None].float().div(255))
