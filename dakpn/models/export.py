"""Predictors as ONNX: low-res image in, transform params out, checked against what torch computes."""

import logging
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dakpn.errors import UsageError, WeightsError
from dakpn.models.predictor import KernelPredictor

_OPSET = 18
_TOLERANCE = 1e-3
"""Largest difference from torch, as a share of a param's range."""
_CHECKED_IMAGES = 3


def export_predictor(predictor: KernelPredictor, notes: dict[str, str]) -> tuple[bytes, float]:
    """The predictor as an ONNX model, and how far its params are from torch's, as a share of their range.

    Input `low` is float [B, 3, h, w] in 0..1, at the prediction size; where the predictor looks at labels,
    `label_classes` [B, C, h, w], the share of each class in each low-res pixel; and with a style bank, `styles` int64
    [B]. Output `params` is [B, P, h, w] inside their bounds, those of the head at full strength. What an image draws
    beside them (`style.refinement`, `drawn_sigma`, `drawn_scale`) and the translation function itself stay with dakpn.

    Args:
        predictor: in eval mode.
        notes: kept in the model's metadata, beside the names of the params.

    Raises:
        UsageError: `dakpn[onnx]` is not installed.
        WeightsError: onnxruntime computes something else than torch.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch exports with
    except ImportError as error:
        raise UsageError("the export needs ONNX: pip install 'dakpn[onnx]'") from error
    inputs = random_inputs(predictor, _CHECKED_IMAGES)
    model = onnx.load_model_from_string(_traced(predictor, inputs))
    onnx.helper.set_model_props(model, {**notes, "params": ",".join(predictor.function.names)})
    exported = model.SerializeToString()
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(["params"], {name: tensor.numpy() for name, tensor in inputs.items()})[0])
    difference = _difference(predictor, inputs, found)
    if not difference <= _TOLERANCE:
        raise WeightsError(
            f"the exported predictor differs from torch's by {difference:.2g} of a param's range, expected at most "
            f"{_TOLERANCE:g}; use the weights themselves, and report this with the versions of torch and onnxruntime"
        )
    return exported, difference


def random_inputs(predictor: KernelPredictor, images: int) -> dict[str, Tensor]:
    """What the exported predictor takes, by name, for so many random images."""
    generator = torch.Generator().manual_seed(0)
    size = predictor.config.prediction_size
    inputs = {"low": torch.rand(images, 3, *size, generator=generator)}
    if predictor.config.head.needs_label:
        shares = torch.rand(images, predictor.config.num_classes, *size, generator=generator)
        inputs["label_classes"] = shares / shares.sum(1, keepdim=True)
    if predictor.style_bank is not None:
        inputs["styles"] = torch.arange(images)
    return inputs


def _traced(predictor: KernelPredictor, inputs: dict[str, Tensor]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself, and of packages that are not needed
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            predictor,
            (),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["params"],
            dynamic_shapes={name: {0: torch.export.Dim("batch")} for name in inputs},
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise WeightsError("torch gave no ONNX program; use the weights themselves")
    return program.model_proto.SerializeToString()


@torch.no_grad()
def _difference(predictor: KernelPredictor, inputs: dict[str, Tensor], found: NDArray[np.float32]) -> float:
    expected = predictor(**inputs).numpy()
    function = predictor.function
    ranges = np.subtract(function.high, function.low).reshape(-1, 1, 1)
    return float((np.abs(found - expected) / np.where(ranges > 0, ranges, 1)).max())
