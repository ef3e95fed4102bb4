"""ONNX: the same params as torch, for any number of images."""

import numpy as np
import pytest
import torch

from dakpn.config import HsvAffineConfig, TranslationConfig
from dakpn.errors import WeightsError
from dakpn.models import export
from dakpn.models.weights import load_predictor
from tests.unit.training.tiny import tiny_predictor

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def exported(weights: str) -> tuple[bytes, float]:
    predictor, _, digest = load_predictor(weights)
    return export.export_predictor(predictor, {"weights": digest})


def test_the_exported_predictor_gives_torchs_params_and_names_them(weights: str, exported: tuple[bytes, float]) -> None:
    predictor, _, digest = load_predictor(weights)
    assert exported[1] < 1e-4
    session = onnxruntime.InferenceSession(exported[0])
    inputs = export.random_inputs(predictor, 5)
    (params,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        np.testing.assert_allclose(params, predictor(**inputs).numpy(), atol=1e-4)
    assert params.std() > 1e-2
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["weights"] == digest
    assert metadata["params"].split(",") == list(predictor.function.names)


def test_an_export_that_computes_something_else_is_refused(
    weights: str, exported: tuple[bytes, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _, _ = load_predictor(weights)
    torch.nn.init.zeros_(other.head.bias)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(export, "_traced", lambda predictor, inputs: exported[0])
    with pytest.raises(WeightsError, match="differs from torch's by"):
        export.export_predictor(other, {})


def test_a_predictor_whose_bounds_are_seen_for_the_first_time_by_the_export_still_computes_after_it() -> None:
    """What is kept from call to call must not be what the export traces with."""
    predictor = tiny_predictor(translation=TranslationConfig(stages=(HsvAffineConfig(hue_shift=0.0371),))).eval()
    _, difference = export.export_predictor(predictor, {})
    assert difference < 1e-4
    with torch.no_grad():
        params = predictor(**export.random_inputs(predictor, 2))
    assert params[:, 3].abs().max() <= 0.0371
    assert params.numpy().std() > 0
