"""Nothing in the torch form is bound to the CPU: meta tensors have a device of their own and no values to read back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dakpn.config import (
    GammaConfig,
    GaussianBlurConfig,
    HeadConfig,
    HsvAffineConfig,
    NetworkConfig,
    NoiseConfig,
    PredictorConfig,
    RgbAffineConfig,
    StyleConfig,
    SymmetricKernelConfig,
    TranslationConfig,
)
from dakpn.models.function.noise import keyed_noise, seeded_noise
from dakpn.models.function.translation import TranslationFunction, upsample_params, upsample_patches
from dakpn.models.predictor import KernelPredictor
from tests.unit.models.network_samples import NETWORKS

EVERY_STAGE = (
    HsvAffineConfig(),
    RgbAffineConfig(),
    GammaConfig(),
    SymmetricKernelConfig(),
    GaussianBlurConfig(),
    NoiseConfig(),
)


def upsampled_alone(params: Tensor) -> tuple[Tensor, Tensor]:
    window = (3, 4, 40, 50)
    return upsample_params(params, (60, 70), window), keyed_noise(1, (60, 70), window, "meta")


def upsampled_together(params: Tensor) -> tuple[Tensor, Tensor]:
    sizes, corners, seeds = (torch.ones(2, *size, dtype=torch.int64, device="meta") for size in ((2,), (2,), ()))
    return upsample_patches(params, sizes, corners, (40, 50)), seeded_noise(seeds, (40, 50))


@pytest.mark.parametrize("upsampled", [upsampled_alone, upsampled_together])
def test_the_function_and_its_gradient_read_back_nothing(upsampled: Callable[[Tensor], tuple[Tensor, Tensor]]):
    function = TranslationFunction(TranslationConfig(stages=EVERY_STAGE))
    image = torch.rand(2, 3, 40, 50, device="meta")
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        image.max().item()
    raw = torch.randn(2, function.num_params, 5, 6, device="meta", requires_grad=True)
    params, noise = upsampled(function.with_strength(function.bound(raw), 0.5))
    translated = function.apply(image, params, noise.expand(2, -1, -1, -1))
    (gradient,) = torch.autograd.grad(translated.sum(), raw)
    assert translated.device.type == gradient.device.type == "meta"
    assert translated.shape == (2, 3, 40, 50)


@pytest.mark.parametrize(("config", "stride"), NETWORKS)
def test_a_predictor_goes_where_it_is_sent(config: NetworkConfig, stride: int):
    predictor = KernelPredictor(
        PredictorConfig(
            num_classes=5,
            prediction_size=(32, 48),
            network=config,
            head=HeadConfig(condition="both"),
            translation=TranslationConfig(),
            style=StyleConfig(kind="class"),
            style_keys=("dusk",),
        )
    )
    low = torch.rand(1, 3, 32, 48, device="meta")
    rest = {
        "label_classes": torch.rand(1, 5, 32, 48, device="meta"),
        "styles": torch.zeros(1, dtype=torch.int64, device="meta"),
    }
    with pytest.raises((RuntimeError, ValueError), match=r"meta|device"):
        predictor.for_inference()(low, **rest)
    assert predictor.for_inference().to("meta")(low, **rest).device.type == "meta"
