"""The way of an image on a device: with values on the CPU, and on the fake device without any, to count what waits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dakpn.config import ParamsPrecision
from dakpn.datasets.class_shares import class_shares
from dakpn.errors import WeightsError
from dakpn.images import codec
from dakpn.models.precision import place
from dakpn.scenes import render_scene
from dakpn.translation.on_device import Returning, rounded_logits, shares_of, shrunk
from dakpn.translation.stored_params import StoredLogits
from dakpn.translation.translator import Translator
from tests.fake_gpu import fake_gpu

RNG = np.random.default_rng(0)


class Sending(Translator):
    """Takes the CPU for a device."""

    _sends = True


@pytest.mark.parametrize(
    ("old", "new", "worst"),
    [
        ((1052, 1914), (192, 320), 0),
        ((1052, 1914), (96, 160), 1),
        ((263, 479), (24, 40), 1),
        ((97, 131), (97, 60), 0),
        ((20, 33), (40, 70), 0),
    ],
)
def test_low_res_images_are_those_of_the_cpu(old: tuple[int, int], new: tuple[int, int], worst: int) -> None:
    for image in (RNG.integers(0, 256, (*old, 3), np.uint8), np.full((*old, 3), 255, np.uint8)):
        found = (shrunk(torch.from_numpy(image), new)[0] * 255).round().permute(1, 2, 0).numpy()
        gaps = np.abs(found - codec.resize_image(image, new))
        assert gaps.max() <= worst
        assert gaps.mean() <= 0.4 * worst


@pytest.mark.parametrize("size", [(24, 40), (7, 13), (200, 300)])
def test_class_shares_are_those_of_the_cpu(size: tuple[int, int]) -> None:
    label = RNG.integers(0, 7, (97, 131), np.uint8)
    label[:50, :70] = 255
    assert np.array_equal(shares_of(torch.from_numpy(label), 5, size)[:].numpy(), class_shares(label, 5, size))


@pytest.mark.parametrize("precision", ["float32", "float16", "uint8"])
def test_logits_are_rounded_as_they_are_stored(precision: ParamsPrecision) -> None:
    logits = 30 * torch.randn(1, 5, 6, 9)
    logits[:, 2] = 4.5
    logits[:, 3, 0, 0] = 1e6
    expected = StoredLogits.of(logits[0].numpy(), precision).restored()
    assert np.array_equal(rounded_logits(logits, precision)[0].numpy(), expected)
    logits[:, 1, 2, 3] = torch.nan
    assert rounded_logits(logits, precision).isnan().any()


@pytest.mark.parametrize("condition", ["label", "encoder"])
def test_an_image_is_that_of_the_cpu_but_for_a_grey_level(
    condition: str, weights: str, weights_for_any_image: str
) -> None:
    of_cpu = Translator.load(weights if condition == "label" else weights_for_any_image)
    scene = render_scene(3, (240, 320))
    label = scene.label % of_cpu.labels.num_classes
    there = Sending(of_cpu.predictor, of_cpu.labels, of_cpu.weights_digest, refinement=(0.3, 0.8))
    here = replace(of_cpu, refinement=(0.3, 0.8))
    assert torch.equal(there.low_res_params(scene.image, "key", label), here.low_res_params(scene.image, "key", label))
    gaps = there.translate(scene.image, "key", label).astype(int) - here.translate(scene.image, "key", label)
    assert np.abs(gaps).max() <= 1


@pytest.mark.parametrize("precision", ["float16", "uint8"])
@pytest.mark.parametrize("condition", ["label", "encoder"])
def test_nothing_waits_or_is_computed_here_until_the_image_comes_back(
    condition: str, precision: ParamsPrecision, weights: str, weights_for_any_image: str
) -> None:
    here = Translator.load(weights if condition == "label" else weights_for_any_image, precision=precision)
    image = RNG.integers(0, 256, (60, 80, 3), np.uint8)
    label = RNG.integers(0, here.labels.num_classes, (60, 80), np.uint8)
    with fake_gpu() as gpu:
        translator = replace(here, predictor=place(here.predictor, gpu.device))
        translator.translate(image, "first", label)  # constants go there once
        gpu.waits = gpu.kernels = gpu.on_host = 0
        found = translator.translate(image, "second", label)
        assert found.shape == image.shape
        assert (gpu.waits, gpu.on_host) == (1, 0)
        assert gpu.kernels > 50


def test_params_that_are_not_finite_are_told_when_the_image_comes_back() -> None:
    image = torch.zeros(2, 3, 3, dtype=torch.uint8)
    assert Returning(image, torch.zeros(1, 2, 1, 1))().shape == (2, 3, 3)
    with pytest.raises(WeightsError, match="params are not finite"):
        Returning(image, torch.tensor([0.0, torch.inf]))()
