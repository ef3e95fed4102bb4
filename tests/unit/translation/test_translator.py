"""A translator draws a look for each image, works where its weights are, and says so when it cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dakpn.errors import DataError, UsageError
from dakpn.translation.translator import Translator


def test_a_device_that_is_not_there_is_refused_before_any_work(weights: str) -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(UsageError, match=f"device '{device}' cannot be used .*; expected 'cpu', or 'cuda'"):
            Translator.load(weights, device=device)


IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
LABEL = np.random.default_rng(1).integers(0, 11, (40, 60)).astype(np.uint8)


def test_images_follow_the_predictor_to_its_device(weights: str) -> None:
    assert Translator.load(weights).low_res_params(IMAGE, "key", LABEL).device.type == "cpu"
    assert Translator.load(weights, device="meta").low_res_params(IMAGE, "key", LABEL).device.type == "meta"


def test_parameter_maps_are_those_of_the_low_res_params(weights: str) -> None:
    translator = Translator.load(weights)
    height, width = translator.predictor.config.prediction_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    label = np.zeros((height, width), np.uint8)
    maps = translator.parameter_maps(image, "key", label)
    expected = translator.low_res_params(image, "key", label)[0]
    assert list(maps) == list(translator.predictor.function.names)
    torch.testing.assert_close(torch.from_numpy(np.stack(list(maps.values()))), expected)


def test_the_look_is_drawn_by_key_and_draw(weights: str) -> None:
    translator = Translator.load(weights)
    first = translator.translate(IMAGE, "one", LABEL)
    assert np.array_equal(translator.translate(IMAGE, "one", LABEL), first)
    assert not np.array_equal(translator.translate(IMAGE, "two", LABEL), first)
    assert not np.array_equal(replace(translator, draw=1).translate(IMAGE, "one", LABEL), first)


def test_a_named_style_is_that_of_all_images(weights: str) -> None:
    styled = Translator.load(weights, style="noon", refinement=(0.5, 0.5))
    assert styled.predictor.config.style_keys[styled.look("a").style] == "noon"
    params = [styled.low_res_params(IMAGE, key, LABEL) for key in "ab"]
    assert torch.equal(*params)


def test_an_unknown_style_is_refused_with_the_known_ones(weights: str) -> None:
    with pytest.raises(UsageError, match="no style 'snow'; expected the key of one of: dusk, noon, rain"):
        Translator.load(weights, style="snow")


def test_without_refinement_the_head_does_nothing(weights: str) -> None:
    translator = Translator.load(weights, refinement=(0.0, 0.0))
    params = translator.low_res_params(IMAGE, "key", LABEL)
    _, refinement = translator.predictor.split_params(params)
    identity = torch.tensor(translator.predictor.refinement.identity).view(-1, 1, 1)
    assert torch.equal(refinement[0], identity.expand_as(refinement[0]))


def test_strength_zero_returns_the_bytes_whatever_the_style(weights: str) -> None:
    assert np.array_equal(Translator.load(weights, strength=0.0).translate(IMAGE, "key", LABEL), IMAGE)


def test_weights_that_look_at_labels_ask_for_one(weights: str) -> None:
    with pytest.raises(DataError, match="key has no label; expected one"):
        Translator.load(weights).translate(IMAGE, "key")
