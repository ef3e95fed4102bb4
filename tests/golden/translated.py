"""The golden translated image: fixed weights on a rendered scene, and how to renew it.

`python -m tests.golden.translated` writes it anew. Do so only when translation is meant to change, raise
`RESULT_VERSION` of `dakpn.translation.shard_job` with it, so that unfinished datasets are not a mixture, and say why in
the commit.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dakpn.config import HeadConfig, PredictorConfig, SmallNetworkConfig, StyleConfig, TranslationConfig
from dakpn.images import codec
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import color_moments
from dakpn.scenes import render_scene
from dakpn.translation.translator import Translator
from tests.scenes import CAMVID

IMAGE = Path(__file__).with_name("translated.png")


def translated() -> NDArray[np.uint8]:
    """A function of the code alone."""
    scene = render_scene(3, size=(60, 80))
    translator = Translator(_predictor().for_inference(), CAMVID.label_space, "golden")
    train_ids = CAMVID.label_space.to_train_ids(scene.label, "golden")
    return translator.translate(scene.image, "golden", train_ids)


def _predictor() -> KernelPredictor:
    torch.manual_seed(0)
    classes = CAMVID.label_space.num_classes
    predictor = KernelPredictor(
        PredictorConfig(
            num_classes=classes,
            prediction_size=(30, 40),
            network=SmallNetworkConfig(widths=(4, 8, 8, 16)),
            head=HeadConfig(condition="both"),
            translation=TranslationConfig(),
            style=StyleConfig(),
            style_keys=("dusk", "noon"),
        )
    )
    torch.nn.init.normal_(predictor.head.weight, std=0.3)
    torch.nn.init.normal_(predictor.encoder.get_parameter("classify.weight"))
    if predictor.style_bank is not None:
        predictor.style_bank.fill(color_moments(torch.rand(2, 3, 8, 8), torch.rand(2, classes, 8, 8).softmax(1)))
    return predictor


if __name__ == "__main__":
    IMAGE.write_bytes(codec.encode_image(translated(), "png"))
