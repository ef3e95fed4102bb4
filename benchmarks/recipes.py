"""The recipes that are shipped, with untrained weights whose params vary from class to class and style to style."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import workflows
from benchmarks.scenes import GTA5
from dakpn.config import TrainConfig
from dakpn.config_file import load_config
from dakpn.images import codec
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import color_moments
from dakpn.scenes import render_scene
from dakpn.sources.preset import load_preset
from dakpn.translation.translator import Translator

SHIPPED = "gta5_cityscapes"
_FOLDER = Path(workflows.__file__).parent / "configs"


@cache
def shipped_config(recipe: str = SHIPPED) -> TrainConfig:
    """`workflows/configs/RECIPE.yaml`."""
    return load_config(TrainConfig, _FOLDER / f"{recipe}.yaml", ("run=RUN", "synthetic=SYNTHETIC", "real=REAL"))


@cache
def shipped_translator(recipe: str = SHIPPED) -> Translator:
    """A translator of `workflows/configs/RECIPE.yaml` for labels of GTA5, on one CPU thread."""
    config = shipped_config(recipe)
    space = load_preset("gta5").label_space
    keys = tuple(map(str, range(config.style.entries))) if config.style.kind != "none" else ()
    generator = torch.Generator().manual_seed(0)
    predictor = KernelPredictor(config.predictor(config.encoder.network, space.num_classes, keys, 1914))
    torch.nn.init.normal_(predictor.head.weight, std=2, generator=generator)
    if predictor.style_bank is not None:
        tint, grain = torch.rand(len(keys), 3, 1, 1, generator=generator), torch.randn(len(keys), 3, 24, 32)
        shares = torch.rand(len(keys), space.num_classes, 24, 32, generator=generator).softmax(1)
        predictor.style_bank.fill(color_moments((0.3 + 0.5 * tint + 0.1 * grain).clamp(0, 1), shares))
    return Translator(predictor.eval().for_inference(), space, recipe)


@cache
def encoded_label() -> bytes:
    """The label of `benchmarks.scenes.image` as a GTA5 PNG."""
    classes = np.array(
        [number for number, train_id in load_preset("gta5").label_space.class_map.items() if train_id < 19]
    )
    return codec.encode_label(classes[render_scene(7, GTA5).label % len(classes)].astype(np.uint8))


def wide_params(translator: Translator) -> Tensor:
    """Low-res params [1, P, h, w] over the whole of their bounds, the style's biases within 1."""
    function, size = translator.predictor.function, translator.predictor.config.prediction_size
    raw = 2 * torch.randn(1, function.num_params, *size, generator=torch.Generator().manual_seed(0))
    params = function.bound(raw)
    params[:, [name in ("l_bias", "alpha_bias", "beta_bias") for name in function.names]] /= 15
    return params
