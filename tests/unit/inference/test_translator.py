"""A translator works where its weights are, and says so when it cannot."""

import numpy as np
import pytest
import torch

from dakpn.errors import UsageError
from dakpn.inference.translator import Translator


def test_a_device_that_is_not_there_is_refused_before_any_work(weights: str) -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(UsageError, match=f"device '{device}' cannot be used .*; expected 'cpu', or 'cuda'"):
            Translator.load(weights, device=device)


def test_images_follow_the_predictor_to_its_device(weights: str) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    assert Translator.load(weights).low_res_params(image).device.type == "cpu"
    assert Translator.load(weights, device="meta").low_res_params(image).device.type == "meta"


def test_parameter_maps_are_those_of_the_low_res_params(weights: str) -> None:
    translator = Translator.load(weights)
    image = np.random.default_rng(0).integers(0, 256, (*translator.predictor.config.prediction_size, 3), np.uint8)
    maps = translator.parameter_maps(image)
    expected = translator.low_res_params(image)[0]
    assert list(maps) == list(translator.predictor.function.names)
    torch.testing.assert_close(torch.from_numpy(np.stack(list(maps.values()))), expected)
