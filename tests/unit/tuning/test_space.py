"""The search space: what is refused before any work starts, and the training that values stand for."""

from pathlib import Path

import pytest
import yaml

from dakpn.config import TrainConfig
from dakpn.config_file import load_config, parse_config
from dakpn.errors import ConfigError
from dakpn.tuning.space import check_space, shares_encoder, shares_styles, training_config, winning_yaml
from tests.unit.tuning.sweeps import RATE, STYLE, WEIGHT, sweep_config
from workflows.command_configs import train_config
from workflows.tune_search import ray_space, values_of


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"adversarial.predictor_lr": {"uniform": [0, 1]}},
            "unknown key adversarial.predictor_lr; valid here: .*steps",
        ),
        ({RATE: {"log_unifrom": [1e-4, 1]}}, "unknown key .*log_unifrom; valid here: choice, integer, log_integer"),
        ({RATE: {"uniform": [0.1, 1], "choice": [1]}}, "exactly one of .*; got uniform, choice"),
        ({RATE: {}}, "exactly one of .*; got none"),
        ({RATE: {"uniform": [1, 0.1]}}, r"expected \[lowest, highest\]; got \[1.0, 0.1\]"),
        ({RATE: {"log_uniform": [0, 1]}}, "log_uniform.0 = 0"),
        ({RATE: {"uniform": [-1, 1]}}, "predictor_learning_rate = -1.0: input should be greater than 0"),
        ({"style.kind": {"choice": ["none", "globe"]}}, "style.kind = 'globe'"),
        ({"seed.x": {"choice": [1]}}, "seed is a value, not a section"),
        ({"run": {"choice": ["a", "b"]}}, "run is the same for all trials"),
        ({"style.refinement": {"choice": [[0, 1], [1, 0]]}}, "refinement .* must be"),
        ({}, "at least 1 item"),
    ],
)
def test_a_space_that_cannot_be_is_refused_with_the_way_out(space: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_space(sweep_config(space=space))


def test_bounds_that_only_clash_together_are_found_before_any_trial() -> None:
    blur = "translation.stages"
    stages = [[{"kind": "gaussian_blur", "max_sigma": 1.0}], [{"kind": "noise"}]]
    check_space(sweep_config(space={blur: {"choice": stages}}))
    clash = {"workers": {"choice": [1, [2, 4], [4, 2]]}}
    with pytest.raises(ConfigError, match=r"workers .* must be"):
        check_space(sweep_config(space=clash))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tune.scheduler={kind: pbt}"], "pbt changes settings in mid-training, which style cannot; it can vary"),
        (["tune.scheduler={kind: pbt}", "tune.trials=1", f"tune.space={{{RATE}: {{uniform: [0.1, 1]}}}}"], "2 or more"),
        (["tune.objective={kind: miou}"], "miou needs validation"),
        (["tune.objective={kind: colors, correlate: 2}"], "at least 3 trials"),
        (["tune.scheduler={kind: asha}", "tune.space={adversarial.steps: {integer: [2, 9]}}"], "at equal steps"),
        (["tune.scheduler={kind: hyperband}"], "'none', 'asha', 'pbt'"),
        (["tune.trails=3"], "unknown key tune.trails; valid here: .*trials"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_without_repeating_the_config(overrides: list, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        sweep_config(*overrides)
    assert "synthetic" not in str(refusal.value)


def test_values_stand_for_one_training_and_its_yaml_is_what_train_takes(tmp_path: Path) -> None:
    config = sweep_config()
    values = {RATE: 0.005, WEIGHT: 0.25, STYLE: {"kind": "class", "entries": 8}}
    training = training_config(config, values)
    assert training.adversarial.predictor_learning_rate == 0.005
    assert (training.style.kind, training.style.entries) == ("class", 8)
    assert training.adversarial.steps == 8  # what the space leaves alone
    assert training.run == "out/best"
    path = tmp_path / "best.yaml"
    path.write_text(winning_yaml(config, values))
    assert load_config(TrainConfig, path) == training


def test_train_takes_the_sweep_s_own_file_and_leaves_the_section_out(tmp_path: Path) -> None:
    config = sweep_config()
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert train_config(path, ["run=mine"]).run == "mine"
    path.write_text(path.read_text() + "tuna: {}\n")
    with pytest.raises(ConfigError, match="unknown key tuna"):
        train_config(path)


def test_what_ray_draws_is_within_the_space_whatever_the_choices_are() -> None:
    space = {
        RATE: {"log_uniform": [1e-4, 1e-2]},
        "stream.prefetch_batches": {"integer": [2, 3]},
        "stream.shuffle_shards": {"log_integer": [1, 2]},
        STYLE: {"choice": [{"kind": "none"}, {"kind": "class", "entries": 8}]},
        "adversarial.gradient_clip": {"choice": [None, 1.0]},
    }
    config = sweep_config(space=space)
    domains = ray_space(config)
    seen: dict[str, set[str]] = {key: set() for key in space}
    for _ in range(60):
        values = values_of({key: domain.sample() for key, domain in domains.items()}, config)
        training_config(config, values)
        for key, value in values.items():
            seen[key].add(str(value))
        assert 1e-4 <= values[RATE] <= 1e-2
    assert seen["stream.prefetch_batches"] == {"2", "3"}
    assert seen["stream.shuffle_shards"] == {"1", "2"}
    assert seen["adversarial.gradient_clip"] == {"None", "1.0"}
    assert len(seen[STYLE]) == 2


@pytest.mark.parametrize(
    ("key", "encoder", "styles"),
    [
        (RATE, True, True),
        ("style.entries", True, False),
        ("encoder.training.steps", False, False),
        ("seed", False, False),
    ],
)
def test_the_encoder_is_trained_once_unless_the_trials_differ_in_it(key: str, encoder: bool, styles: bool) -> None:
    config = sweep_config(space={key: {"integer": [1, 9]}})
    assert (shares_encoder(config), shares_styles(config)) == (encoder, styles)


def test_the_config_of_the_sweep_reads_back_as_it_was() -> None:
    config = sweep_config("tune.scheduler={kind: asha, reduction_factor: 2}", "tune.search={kind: optuna}")
    text = yaml.safe_dump(config.model_dump(mode="json"))
    assert parse_config(type(config), text, origin="text") == config
