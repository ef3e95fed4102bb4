"""ONNX: the same params as torch, for any number of images."""

import numpy as np
import pytest
import torch

from dakpn.errors import WeightsError
from dakpn.models import export
from dakpn.models.weights import load_predictor

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
