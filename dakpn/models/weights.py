"""Weights on storage: `model.safetensors` + `config.json` + a model card (Hugging Face hub layout). No pickle.

A URI may end in `@sha256:HEX`, the digest that saving returns: then these very weights are loaded, or none. Beside
predictor weights lie their facts (`weights_facts`), which are checked against the tensors whenever these are loaded.
"""

import json
from collections.abc import Mapping
from typing import Any

import safetensors
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn

from dakpn import storage
from dakpn.config import NetworkConfig, PredictorConfig
from dakpn.datasets.certificate import ParamBounds
from dakpn.datasets.label_space import LabelSpace
from dakpn.errors import WeightsError
from dakpn.models import weights_files
from dakpn.models.predictor import KernelPredictor
from dakpn.models.segmenters.networks import build_network
from dakpn.models.segmenters.segmenter import Segmenter
from dakpn.models.weights_facts import PredictorFacts, StageFacts, read_facts, require_same
from dakpn.models.weights_files import CARD, CONFIG, FACTS, TENSORS, digest_of, unreadable

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
    facts_uri = storage.join(uri, FACTS)
    storage.delete(facts_uri)  # those of former weights would not be those of the tensors that come now
    digest, size = _save(uri, model, {"kind": "predictor", **config}, card)
    facts = _facts(model, label_space, digest, size)
    storage.write_json(facts_uri, facts.model_dump(mode="json"))
    return digest


def load_predictor(uri: str) -> tuple[KernelPredictor, LabelSpace, str]:
    """Read predictor weights: the model in eval mode, its classes and the weights' digest.

    Raises:
        WeightsError: missing, damaged, others than the URI's digest says, a pickle, of another kind, not fitting the
            architecture they name, or not those that the facts beside them are of.
    """
    model, labels, facts = _load_predictor(uri)
    return model, labels, facts.digest


def facts_of_tensors(uri: str) -> PredictorFacts:
    """The facts of predictor weights, made from their tensors; errors as for `load_predictor`."""
    return _load_predictor(uri)[2]


def _load_predictor(uri: str) -> tuple[KernelPredictor, LabelSpace, PredictorFacts]:
    config, tensors, digest, size = _load(uri, "predictor")
    try:
        model = KernelPredictor(PredictorConfig.model_validate(config["predictor"]))
    except (ValidationError, KeyError) as error:
        raise unreadable(uri, "its predictor config does not fit this version of dakpn") from error
    _fill(uri, model, tensors)
    labels = LabelSpace.from_dict(config["label_space"])
    facts = _facts(model, labels, digest, size)
    folder, _ = weights_files.split_digest(uri)
    claimed = read_facts(folder)
    if claimed is not None:
        require_same(folder, claimed, facts)
    return model.eval(), labels, facts


def _facts(model: KernelPredictor, labels: LabelSpace, digest: str, tensor_bytes: int) -> PredictorFacts:
    """What is known of a predictor whose weights have this digest."""
    stages = [
        StageFacts(
            name=type(stage).__name__,
            radius=stage.radius,
            params=ParamBounds(names=stage.names, low=stage.low, high=stage.high),
        )
        for stage in model.function.stages
    ]
    return PredictorFacts(
        digest=digest,
        tensor_bytes=tensor_bytes,
        weight_count=sum(tensor.numel() for tensor in model.state_dict().values()),
        stages=tuple(stages),
        label_space=json.loads(json.dumps(labels.to_dict())),
        needs_label=model.config.head.needs_label,
        condition=model.config.head.condition,
        style_keys=model.config.style_keys,
        prediction_size=model.config.prediction_size,
    )


def save_segmenter(uri: str, model: Segmenter, network: NetworkConfig, label_space: LabelSpace, card: str) -> str:
    """Write segmenter weights and return their digest."""
    config = {"network": network.model_dump(mode="json"), "label_space": label_space.to_dict()}
    return _save(uri, model, {"kind": "segmenter", **config}, card)[0]


def load_segmenter(uri: str) -> tuple[Segmenter, NetworkConfig, LabelSpace, str]:
    """Read segmenter weights: the model in eval mode, its architecture, its classes and the weights' digest.

    Raises:
        WeightsError: as for `load_predictor`.
    """
    config, tensors, digest, _ = _load(uri, "segmenter")
    try:
        network = TypeAdapter(NetworkConfig).validate_python(config["network"])
    except (ValidationError, KeyError) as error:
        raise unreadable(uri, "its network config does not fit this version of dakpn") from error
    label_space = LabelSpace.from_dict(config["label_space"])
    model = build_network(network, label_space.num_classes)
    _fill(uri, model, tensors)
    return model.eval(), network, label_space, digest


def _save(uri: str, model: nn.Module, config: Mapping[str, Any], card: str) -> tuple[str, int]:
    """Write weights; return their digest and the bytes of the tensors' file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    blob = save(tensors)
    config_bytes = json.dumps(config, indent=2).encode()
    digest = digest_of(config_bytes, blob)
    pinned = f"\nThe digest of these weights is `{digest}`; a URI that ends in `@{digest}` takes no others.\n"
    storage.write_bytes(storage.join(uri, CARD), (card + pinned).encode())
    storage.write_bytes(storage.join(uri, CONFIG), config_bytes)
    storage.write_bytes(storage.join(uri, TENSORS), blob)
    return digest, len(blob)


def _load(pinned_uri: str, kind: str) -> tuple[dict[str, Any], dict[str, Tensor], str, int]:
    """Config, tensors, digest and the bytes of the tensors' file."""
    uri, expected = weights_files.split_digest(pinned_uri)
    config_bytes, blob = weights_files.read_weights(uri, expected)
    try:
        config = json.loads(config_bytes)
        tensors = load(blob)
    except (ValueError, safetensors.SafetensorError) as error:
        raise unreadable(uri, _what_else(blob) or f"damaged or not safetensors ({error})") from error
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else type(config).__name__
        raise unreadable(uri, f"they are of kind {found!r}, expected {kind!r}")
    return config, tensors, digest_of(config_bytes, blob), len(blob)


def _what_else(blob: bytes) -> str:
    if not blob.startswith(_PICKLES):
        return ""
    return f"{TENSORS} is a pickle, which could run any code as it is loaded, and is refused; expected safetensors"


def _fill(uri: str, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise unreadable(uri, f"the tensors do not fit the architecture in {CONFIG}") from error
