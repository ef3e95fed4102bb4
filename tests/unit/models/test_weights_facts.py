"""Facts beside weights: they are what the tensors say, and whoever loads the tensors makes sure of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dakpn.datasets.manifest import DatasetIndex
from dakpn.errors import UsageError, WeightsError
from dakpn.models.function.fused_stages import why_stages_not_fused
from dakpn.models.weights import facts_of_tensors, load_predictor
from dakpn.models.weights_facts import PredictorFacts, predictor_facts
from dakpn.models.weights_files import copy_weights


@pytest.fixture
def copied(weights: str, tmp_path: Path) -> Path:
    """Weights that a test may damage."""
    copy_weights(weights, str(tmp_path), predictor_facts(weights).digest)
    return tmp_path


def change(folder: Path, **fields: Any) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**facts, **fields}))


def test_facts_say_what_the_loaded_predictor_does(weights: str) -> None:
    model, labels, digest = load_predictor(weights)
    facts, function = predictor_facts(weights), model.function
    assert (facts.digest, facts.radius, facts.params.names) == (digest, function.radius, function.names)
    assert (facts.params.low, facts.params.high) == (function.low, function.high)
    assert facts.label_space == labels.to_dict()
    assert (facts.condition, facts.needs_label) == (model.config.head.condition, model.config.head.needs_label)
    assert (facts.style_keys, facts.prediction_size) == (("dusk", "noon", "rain"), model.config.prediction_size)
    assert facts.weight_count == sum(tensor.numel() for tensor in model.state_dict().values())
    assert facts.tensor_bytes == (Path(weights) / "model.safetensors").stat().st_size
    assert why_stages_not_fused([stage.name for stage in facts.stages]) is None


def test_weights_without_facts_give_the_same_ones(copied: Path) -> None:
    before = predictor_facts(str(copied))
    (copied / "facts.json").unlink()
    assert predictor_facts(f"{copied}@{before.digest}") == before == facts_of_tensors(str(copied))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("digest", "sha256:" + 64 * "0"),
        ("tensor_bytes", 1),
        ("weight_count", 1),
        ("stages", []),
        ("label_space", {}),
        ("needs_label", False),
        ("condition", "encoder"),
        ("style_keys", ["dusk"]),
        ("prediction_size", [1, 1]),
    ],
)
def test_loading_names_the_field_in_which_facts_and_tensors_differ(copied: Path, field: str, value: Any) -> None:
    assert field in PredictorFacts.model_fields
    change(copied, **{field: value})
    with pytest.raises(WeightsError, match=rf"{field} is .* in facts\.json, expected .*, or delete facts\.json"):
        load_predictor(str(copied))


def test_every_field_of_the_facts_is_compared() -> None:
    tried = {"digest", "tensor_bytes", "weight_count", "stages", "label_space", "needs_label", "condition"}
    assert set(PredictorFacts.model_fields) - tried == {"format_version", "style_keys", "prediction_size"}


def test_facts_alone_refuse_other_weights_than_a_plan_names(copied: Path) -> None:
    with pytest.raises(WeightsError, match="others than the URI names"):
        predictor_facts(f"{copied}@sha256:{64 * '0'}")
    with (copied / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(WeightsError, match="tensor_bytes is"):
        predictor_facts(str(copied))
    (copied / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"cannot be used: model\.safetensors is expected there"):
        predictor_facts(str(copied))


@pytest.mark.parametrize("damage", [{"format_version": 2}, {"radius": 3}, {"digest": 3}])
def test_damaged_facts_and_those_of_another_version_are_refused(copied: Path, damage: dict[str, Any]) -> None:
    change(copied, **damage)
    with pytest.raises(WeightsError, match=r"facts\.json (is damaged|has version 2).* delete the file"):
        predictor_facts(str(copied))


def test_facts_refuse_what_the_weights_cannot_do(weights: str) -> None:
    facts = predictor_facts(weights)
    images = DatasetIndex.model_validate({"label_space": None, "labelled": False, "shards": []})
    with pytest.raises(UsageError, match="in has no labels, and the weights look at them"):
        facts.require_fit(weights, "dusk", images, "in")
    with pytest.raises(UsageError, match="has no style 'dawn'; expected the key of one of: dusk, noon, rain"):
        facts.require_fit(weights, "dawn", images, "in")
