"""Weights on storage: `model.safetensors` + `config.json` + a model card (Hugging Face hub layout). No pickle.

A URI may end in `@sha256:HEX`, the digest that saving returns: then these very weights are loaded, or none.
"""

import hashlib
import json
import re
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
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PICKLES = (b"\x80", b"PK\x03\x04")
"""How a bare pickle and torch's archive of one begin."""


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
        WeightsError: missing, damaged, others than the URI's digest says, a pickle, of another kind, or not fitting the
            architecture they name.
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


def has_weights(uri: str) -> bool:
    """Whether weights lie here, of whatever kind."""
    return storage.exists(storage.join(uri, _TENSORS))


def weights_digest(uri: str) -> str:
    """Digest of the weights of either kind in a folder. Raises `WeightsError` if they cannot be read."""
    return _digest(*_read(uri, ""))


def copy_weights(uri: str, to: str, digest: str) -> None:
    """Copy weights of either kind, if they are those with this digest.

    Raises:
        WeightsError: they are missing or others.
        StorageError: the copy cannot be written.
    """
    folder, _ = _split_digest(uri)
    config, tensors = _read(folder, digest)
    card = storage.join(folder, _CARD)
    if storage.exists(card):
        storage.write_bytes(storage.join(to, _CARD), storage.read_bytes(card))
    storage.write_bytes(storage.join(to, _CONFIG), config)
    storage.write_bytes(storage.join(to, _TENSORS), tensors)


def _save(uri: str, model: nn.Module, config: Mapping[str, Any], card: str) -> str:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    blob = save(tensors)
    config_bytes = json.dumps(config, indent=2).encode()
    digest = _digest(config_bytes, blob)
    pinned = f"\nThe digest of these weights is `{digest}`; a URI that ends in `@{digest}` takes no others.\n"
    storage.write_bytes(storage.join(uri, _CARD), (card + pinned).encode())
    storage.write_bytes(storage.join(uri, _CONFIG), config_bytes)
    storage.write_bytes(storage.join(uri, _TENSORS), blob)
    return digest


def _load(pinned_uri: str, kind: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    uri, expected = _split_digest(pinned_uri)
    config_bytes, blob = _read(uri, expected)
    try:
        config = json.loads(config_bytes)
        tensors = load(blob)
    except (ValueError, safetensors.SafetensorError) as error:
        raise _unreadable(uri, _what_else(blob) or f"damaged or not safetensors ({error})") from error
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else type(config).__name__
        raise _unreadable(uri, f"they are of kind {found!r}, expected {kind!r}")
    return config, tensors, _digest(config_bytes, blob)


def _read(uri: str, expected: str) -> tuple[bytes, bytes]:
    """The bytes of config and tensors. Raises `WeightsError` if their digest is another; "" takes any."""
    try:
        config = storage.read_bytes(storage.join(uri, _CONFIG))
        blob = storage.read_bytes(storage.join(uri, _TENSORS))
    except StorageError as error:
        raise _unreadable(uri, f"{_CONFIG} and {_TENSORS} are expected there ({error})") from error
    digest = _digest(config, blob)
    if expected not in ("", digest):
        raise WeightsError(
            f"weights {uri} have the digest {digest}, expected {expected}: they are others than the URI names, or "
            "were changed; find the right ones, or take these by leaving the digest off"
        )
    return config, blob


def _what_else(blob: bytes) -> str:
    if not blob.startswith(_PICKLES):
        return ""
    return f"{_TENSORS} is a pickle, which could run any code as it is loaded, and is refused; expected safetensors"


def _split_digest(uri: str) -> tuple[str, str]:
    """The URI of the folder, and the digest behind its `@`; "" if there is none."""
    folder, at, digest = uri.rpartition("@sha256:")
    if not at:
        return uri, ""
    if not _DIGEST.fullmatch(f"sha256:{digest}"):
        raise WeightsError(f"weights {uri}: got sha256:{digest}, expected sha256: and 64 hexadecimal digits")
    return folder, f"sha256:{digest}"


def _fill(uri: str, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise _unreadable(uri, f"the tensors do not fit the architecture in {_CONFIG}") from error


def _digest(config: bytes, tensors: bytes) -> str:
    return "sha256:" + hashlib.sha256(hashlib.sha256(config).digest() + hashlib.sha256(tensors).digest()).hexdigest()


def _unreadable(uri: str, reason: str) -> WeightsError:
    return WeightsError(f"weights {uri} cannot be used: {reason}; give the `weights` folder of a finished training run")
