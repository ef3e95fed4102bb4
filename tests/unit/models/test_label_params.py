"""Params from class shares in bytes are those of the torch form."""

import numpy as np
import pytest
import torch

from dakpn.config import HeadConfig, PredictorConfig, SmallNetworkConfig, StyleConfig, TranslationConfig
from dakpn.models import label_params
from dakpn.models.function.color import rgb_to_lab
from dakpn.models.label_params import as_fractions, has_kernels_for
from dakpn.models.predictor import KernelPredictor
from dakpn.models.style import color_moments

CLASSES, SIZE = 5, (24, 40)


def predictor_of(kind: str) -> KernelPredictor:
    torch.manual_seed(0)
    predictor = KernelPredictor(
        PredictorConfig(
            num_classes=CLASSES,
            prediction_size=SIZE,
            network=SmallNetworkConfig(widths=(4, 8, 8, 16)),
            head=HeadConfig(condition="label"),
            translation=TranslationConfig(),
            style=StyleConfig.model_validate({"kind": kind}),
            style_keys=() if kind == "none" else ("dusk", "noon"),
        )
    )
    torch.nn.init.normal_(predictor.head.weight)
    torch.nn.init.normal_(predictor.head.get_parameter("bias"))
    if predictor.style_bank is not None:
        predictor.style_bank.fill(color_moments(torch.rand(2, 3, 8, 8), torch.rand(2, CLASSES, 8, 8).softmax(1)))
    return predictor.eval()


def shares_of(batch: int) -> torch.Tensor:
    """Blocks of one class each with mixed edges, pixels of no class, and a class that is nowhere."""
    shares = np.zeros((batch, CLASSES, *SIZE), np.uint8)
    rng = np.random.default_rng(0)
    for own in shares:
        for number, place in enumerate(np.array_split(np.arange(SIZE[1] - 4), CLASSES - 1)):
            own[number, :, place] = 255 - (number == 2) * rng.integers(0, 255, (len(place), SIZE[0]))
    return torch.from_numpy(shares)


@pytest.mark.parametrize("kind", ["class", "global", "none"])
def test_params_and_moments_are_those_of_the_torch_form(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, shares = predictor_of(kind), shares_of(2)
    low, styles = torch.rand(2, 3, *SIZE), torch.tensor([0, 1])
    with torch.inference_mode():
        assert has_kernels_for(shares)
        features = predictor.image_features(low, shares)
        found = predictor.params_of(features, label_classes=shares, styles=styles)
        monkeypatch.setattr(label_params, "share_kernels", None)
        assert not has_kernels_for(shares)
        expected_features = predictor.image_features(low, shares)
        expected = predictor.params_of(expected_features, label_classes=shares, styles=styles)
    assert (features.moments is None) == (expected_features.moments is None) == (kind == "none")
    if features.moments is not None and expected_features.moments is not None:
        for name, value in expected_features.moments._asdict().items():
            torch.testing.assert_close(getattr(features.moments, name), value, atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def test_training_takes_the_form_that_has_gradients() -> None:
    predictor, shares = predictor_of("class"), shares_of(1)
    params = predictor(torch.rand(1, 3, *SIZE), label_classes=as_fractions(shares), styles=torch.tensor([0]))
    params.sum().backward()
    assert predictor.head.weight.grad is not None
    assert float(predictor.head.weight.grad.abs().sum()) > 0


def test_a_batch_is_the_same_as_its_images_one_by_one() -> None:
    predictor, shares = predictor_of("class"), shares_of(2)
    low, styles = torch.rand(2, 3, *SIZE), torch.tensor([1, 0])
    with torch.inference_mode():
        together = predictor.params_of(predictor.image_features(low, shares), label_classes=shares, styles=styles)
        for n in range(2):
            own = shares[n : n + 1]
            features = predictor.image_features(low[n : n + 1], own)
            alone = predictor.params_of(features, label_classes=own, styles=styles[n : n + 1])
            assert torch.equal(alone[0], together[n])


def test_colors_of_the_compiled_form_are_the_torch_form_s_to_the_bit() -> None:
    """The style's params hang on them, and through these the bytes of stored params."""
    levels = torch.randint(256, (2, 3, *SIZE)).float().div(255)
    for images in (levels, torch.rand(2, 3, *SIZE), levels.movedim(-1, -2)):
        assert torch.equal(label_params._lab(images), rgb_to_lab(images))
