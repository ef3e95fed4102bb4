"""Weights on storage: `model.safetensors` + `config.json` + a model card (Hugging Face hub layout). No pickle."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn

from dakpn.config import NetworkConfig, PredictorConfig
from dakpn.data import storage
from dakpn.data.datasets import LabelSpace
from dakpn.errors import StorageError, WeightsError
from dakpn.models.networks import build_network
from dakpn.models.predictor import KernelPredictor
from dakpn.models.segmenter import Segmenter

_TENSORS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"


def save_predictor(uri: str, model: KernelPredictor, label_space: LabelSpace, card: str) -> str:
    """Write predictor weights and return their digest.

    Raises:
        WeightsError: the predictor comes from `for_inference`.
    """
    if model.folded:
        raise WeightsError("a predictor made for inference cannot be saved; save the one it was made from")
    config = {"predictor": model.config.model_dump(mode="json"), "label_space": label_space.to_dict()}
    return _save(uri, model, {"kind": "predictor", **config}, card)


def load_predictor(uri: str) -> tuple[KernelPredictor, LabelSpace, str]:
    """Read predictor weights: the model in eval mode, its classes and the weights' digest.

    Raises:
        WeightsError: missing, damaged, of another kind, or not fitting the architecture they name.
    """
    config, tensors, digest = _load(uri, "predictor")
    try:
        model = KernelPredictor(PredictorConfig.model_validate(config["predictor"]))
    except (ValidationError, KeyError) as error:
        raise _unreadable(uri, "its predictor config does not fit this version of dakpn") from error
    _fill(uri, model, tensors)
    return model.eval(), LabelSpace.from_dict(config["label_space"]), digest


def save_segmenter(uri: str, model: Segmenter, network: NetworkConfig, label_space: LabelSpace, card: str) -> str:
    """Write segmenter weights and return their digest."""
    config = {"network": network.model_dump(mode="json"), "label_space": label_space.to_dict()}
    return _save(uri, model, {"kind": "segmenter", **config}, card)


def load_segmenter(uri: str) -> tuple[Segmenter, NetworkConfig, LabelSpace, str]:
    """Read segmenter weights: the model in eval mode, its architecture, its classes and the weights' digest.

    Raises:
        WeightsError: as for `load_predictor`.
    """
    config, tensors, digest = _load(uri, "segmenter")
    try:
        network = TypeAdapter(NetworkConfig).validate_python(config["network"])
    except (ValidationError, KeyError) as error:
        raise _unreadable(uri, "its network config does not fit this version of dakpn") from error
    label_space = LabelSpace.from_dict(config["label_space"])
    model = build_network(network, label_space.num_classes)
    _fill(uri, model, tensors)
    return model.eval(), network, label_space, digest


def _save(uri: str, model: nn.Module, config: Mapping[str, Any], card: str) -> str:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    blob = save(tensors)
    storage.write_bytes(storage.join(uri, _CARD), card.encode())
    storage.write_bytes(storage.join(uri, _CONFIG), json.dumps(config, indent=2).encode())
    storage.write_bytes(storage.join(uri, _TENSORS), blob)
    return _digest(json.dumps(config, indent=2).encode(), blob)


def _load(uri: str, kind: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    try:
        config_bytes = storage.read_bytes(storage.join(uri, _CONFIG))
        blob = storage.read_bytes(storage.join(uri, _TENSORS))
    except StorageError as error:
        raise _unreadable(uri, f"{_CONFIG} and {_TENSORS} are expected there ({error})") from error
    try:
        config = json.loads(config_bytes)
        tensors = load(blob)
    except (ValueError, safetensors.SafetensorError) as error:
        raise _unreadable(uri, f"damaged or not safetensors ({error})") from error
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else type(config).__name__
        raise _unreadable(uri, f"they are of kind {found!r}, expected {kind!r}")
    return config, tensors, _digest(config_bytes, blob)


def _fill(uri: str, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise _unreadable(uri, f"the tensors do not fit the architecture in {_CONFIG}") from error


def _digest(config: bytes, tensors: bytes) -> str:
    return "sha256:" + hashlib.sha256(hashlib.sha256(config).digest() + hashlib.sha256(tensors).digest()).hexdigest()


def _unreadable(uri: str, reason: str) -> WeightsError:
    return WeightsError(f"weights {uri} cannot be used: {reason}; give the `weights` folder of a finished training run")
