"""The config loader: what it refuses, and that it says which key and what would be right."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dakpn.config import (
    Config,
    DemoConfig,
    EvaluateConfig,
    GaussianBlurConfig,
    NoiseConfig,
    PackConfig,
    TrainConfig,
    TranslateConfig,
    TuneConfig,
)
from dakpn.config_file import build_config, load_config, parse_config, to_yaml
from dakpn.errors import ConfigError
from dakpn.models.discriminator import PatchDiscriminator
from dakpn.models.function.translation import TranslationFunction
from dakpn.sources.preset import preset_names
from dakpn.tuning.space import check_space
from tests.paths import REPOSITORY
from workflows.command_configs import train_config

TRAIN = {"run": "r", "synthetic": "s", "real": "t"}


def train(*overrides: str, **values: Any) -> TrainConfig:
    return build_config(TrainConfig, {**TRAIN, **values}, overrides)


def test_an_unknown_key_is_named_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        train(sed=1)
    message = str(caught.value)
    assert "unknown key sed" in message
    assert "seed" in message
    assert "adversarial" in message


def test_an_unknown_nested_key_is_named_by_its_path_with_the_keys_of_that_place() -> None:
    with pytest.raises(ConfigError) as caught:
        train(encoder={"training": {"stepz": 3}})
    message = str(caught.value)
    assert "unknown key encoder.training.stepz" in message
    assert "steps" in message
    assert "learning_rate" in message
    assert "synthetic" not in message  # a key of the top level


def test_an_unknown_key_of_a_stage_is_answered_with_the_keys_of_that_kind_of_stage() -> None:
    with pytest.raises(ConfigError) as caught:
        train(translation={"stages": [{"kind": "noise"}, {"kind": "gaussian_blur", "sigma": 1}]})
    message = str(caught.value)
    assert "unknown key translation.stages.1.gaussian_blur.sigma" in message
    assert "max_sigma" in message
    assert "max_scale" not in message


def test_an_unknown_kind_of_stage_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"stages\.0.*hsv_affine.*gaussian_blur.*noise"):
        train(translation={"stages": [{"kind": "warp"}]})


def test_all_problems_of_a_config_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(TrainConfig, {"run": "r", "synthetic": "s", "bogus": 1, "adversarial": {"steps": -1}})
    for part in ("real is required", "unknown key bogus", "adversarial.steps = -1"):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "encoder:\n  training: {steps: 1, steps: 2}\n"])
def test_a_key_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"key '(seed|steps)' is given twice"):
        parse_config(TrainConfig, text, origin="x.yaml")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['echo']", "!!python/name:os.system", "!!python/tuple [1]"]
)
def test_python_objects_in_yaml_are_refused(tag: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml is not valid YAML"):
        parse_config(TrainConfig, f"seed: {tag}\n", origin="x.yaml")
    with pytest.raises(ConfigError, match="not valid YAML"):
        train(f"seed={tag}")


def test_overrides_reach_any_depth_and_take_numbers_lists_text_and_null() -> None:
    config = train(
        "seed=7",
        "encoder.training.steps=12",
        "encoder.training.size=[48, 64]",
        "adversarial.predictor_learning_rate=1e-3",
        "adversarial.identity_weight=0.25",
        "adversarial.loss=hinge",
        "discriminator.shared=true",
        "encoder.weights=null",
        "real=s3://bucket/real=2",
    )
    assert config.seed == 7
    assert config.encoder.training.steps == 12
    assert config.encoder.training.size == (48, 64)
    assert config.adversarial.predictor_learning_rate == 1e-3
    assert config.adversarial.identity_weight == 0.25
    assert config.adversarial.loss == "hinge"
    assert config.discriminator.shared is True
    assert config.encoder.weights is None
    assert config.real == "s3://bucket/real=2"


@pytest.mark.parametrize(
    "text",
    ["packs/real #1", "2026-11-27", "010", "no", "~", "null", "0", "1e4", "@x", "a: b", "[x", "'x", "*", " x ", "%"],
)
def test_a_path_arrives_as_it_was_written(text: str) -> None:
    config = train(f"run={text}", f"encoder.network.pretrained={text}", "encoder.network.kind=fcn_resnet50")
    assert config.run == text
    assert attrgetter("encoder.network.pretrained")(config) == (None if text == "null" else Path(text))
    assert parse_config(TrainConfig, to_yaml(config), origin="its own YAML") == config


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
@example("00019")
@example("2e-3")
@example("1.5e5")
@example("0x10")
@example("on")
def test_any_text_is_read_back_from_the_record_of_a_run(text: str) -> None:
    config = train(run=text)
    assert parse_config(TrainConfig, to_yaml(config), origin="its own YAML") == config


@pytest.mark.parametrize("key", ["run", "real", "encoder.weights"])
def test_quotes_around_a_path_and_null_for_none_are_understood(key: str) -> None:
    config = train(f"{key}='packs/real #1'", "encoder.network.kind=small")
    assert attrgetter(key)(config) == "packs/real #1"
    assert train("encoder.weights=x", "encoder.weights=null").encoder.weights is None


def test_numbers_are_decimal_and_words_of_other_versions_of_yaml_are_text() -> None:
    config = train("adversarial.steps=010", "adversarial.predictor_learning_rate=1e-3", "discriminator.shared=on")
    assert (config.adversarial.steps, config.adversarial.predictor_learning_rate) == (10, 1e-3)
    assert config.discriminator.shared is True
    assert parse_config(TrainConfig, "run: 2026-11-27\nsynthetic: no\nreal: t\n", origin="x").run == "2026-11-27"


@pytest.mark.parametrize("override", ["run=", "real=''"])
def test_nothing_is_no_path(override: str) -> None:
    """It would be the current folder."""
    with pytest.raises(ConfigError, match=r"(run|real)"):
        train(override)


def test_what_would_be_a_comment_is_refused_where_no_text_is_meant() -> None:
    with pytest.raises(ConfigError, match=r"'seed=5 # five': what follows # would be a comment"):
        train("seed=5 # five")
    style = build_config(TranslateConfig, {"weights": "w", "input": "i", "output": "o"}, ["style=0"]).style
    assert style == "0"
    with pytest.raises(ConfigError, match=r"style = 0: expected a section, set as style.KEY=VALUE; its keys: .*kind"):
        train("style=0")


def test_a_list_of_stages_can_be_overridden() -> None:
    config = train("translation.stages=[{kind: gaussian_blur, max_sigma: 2.0}, {kind: noise}]")
    assert config.translation.stages == (GaussianBlurConfig(max_sigma=2.0), NoiseConfig())


def test_the_last_override_wins_and_values_of_the_caller_stay() -> None:
    values = {**TRAIN, "encoder": {"training": {"steps": 5, "learning_rate": 0.5}}}
    config = build_config(TrainConfig, values, ["encoder.training.steps=6", "encoder.training.steps=7"])
    assert (config.encoder.training.steps, config.encoder.training.learning_rate) == (7, 0.5)
    assert values["encoder"] == {"training": {"steps": 5, "learning_rate": 0.5}}


@pytest.mark.parametrize("override", ["seed", "=3", "encoder..steps=3", ".seed=3", "seed.=3"])
def test_a_malformed_override_is_refused_with_the_form_expected(override: str) -> None:
    with pytest.raises(ConfigError, match=r"malformed; expected dotted\.key=value"):
        train(override)


def test_an_override_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="'seed' is a value, not a section"):
        train("seed=1", "seed.x=2")


def test_an_override_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'encoder\.training\.size=\[1'"):
        train("encoder.training.size=[1")


def test_yaml_that_no_value_can_be_made_of_is_refused() -> None:
    with pytest.raises(ConfigError, match="valid YAML"):
        train("seed={[1]: 2}")


def test_a_date_where_a_number_is_expected_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml: .*seed = '2001-99-99': input should be a valid integer"):
        parse_config(TrainConfig, "seed: 2001-99-99", origin="x.yaml")


def test_a_bound_is_checked_across_fields() -> None:
    with pytest.raises(ConfigError, match=r"initial_sigma 2\.0 must be below max_sigma 1\.0"):
        train("translation.stages=[{kind: gaussian_blur, max_sigma: 1.0, initial_sigma: 2.0}]")


@pytest.mark.parametrize(
    "config",
    [
        train("seed=3", "adversarial.players=reversal", "translation.stages=[{kind: noise, max_scale: 0.2}]"),
        TranslateConfig(weights="w", input="ü/日本", output="o", strength=0.5),
        EvaluateConfig(output="o", contenders={"a": "b"}, real_test="t"),
        DemoConfig(out=Path("x/y")),
    ],
    ids=lambda config: type(config).__name__,
)
def test_yaml_reads_back_as_the_same_config(config: Config) -> None:
    assert parse_config(type(config), to_yaml(config), origin="round trip") == config


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        train().seed = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("text", "kind"), [("- 1\n", "list"), ("hello\n", "str")])
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"x\.yaml holds a {kind}; expected a mapping"):
        load_config(TrainConfig, path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(ConfigError, match=str(path)):
            load_config(TrainConfig, path)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "workflows/configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_that_come_along_fit_their_schema(path: Path) -> None:
    if "evaluation" in path.stem:
        given = ["output=o", "contenders.a=b", "real_test=t", "synthetic=s", "real=r"]
        few = ["real_labelled.dataset=d"] if "real_labelled" in path.read_text() else []
        load_config(EvaluateConfig, path, given + few)
    elif path.stem.endswith("_pack"):
        assert load_config(PackConfig, path, ["source=s", "output=o"]).dataset in preset_names()
    elif path.stem.endswith("_tune"):
        given = ["tune.output=o", "tune.objective.validation=v", "synthetic=s", "real=r"]
        check_space(load_config(TuneConfig, path, given))
    else:
        load_config(TrainConfig, path, [f"{key}={value}" for key, value in TRAIN.items()])


@pytest.mark.parametrize(("text", "limits"), [("3", (3, 3)), ("0", (0, 0)), ("[1, 4]", (1, 4)), ("[2, 2]", (2, 2))])
def test_the_workers_of_a_translation_are_a_number_or_a_range(text: str, limits: tuple[int, int]) -> None:
    values = {"weights": "w", "input": "i", "output": "o"}
    config = build_config(TranslateConfig, values, [f"workers={text}"])
    assert (config.fewest_workers, config.most_workers) == limits
    assert parse_config(TranslateConfig, to_yaml(config), origin="its own YAML") == config


@pytest.mark.parametrize("text", ["-1", "[3, 1]", "[1, 2, 3]", "many", "[0, 1]", "1.5"])
def test_other_workers_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"workers = .*expected a number, 0 .*, or \[min, max\] with 1 <= min <= max$"
    ):
        build_config(TranslateConfig, {"weights": "w", "input": "i", "output": "o"}, [f"workers={text}"])


def test_workers_are_a_number_or_a_range() -> None:
    assert (train(workers=3).fewest_workers, train(workers=3).most_workers) == (3, 3)
    elastic = train("workers=[1,4]")
    assert (elastic.fewest_workers, elastic.most_workers) == (1, 4)
    assert parse_config(TrainConfig, to_yaml(elastic), origin="here") == elastic
    for wrong in ([4, 1], [0, 2], -1):
        with pytest.raises(ConfigError, match="workers"):
            train(workers=wrong)


def test_a_config_builds_on_others_and_the_last_word_counts(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "base.yaml").write_text("seed: 1\nadversarial: {steps: 5, loss: bce}\n")
    (tmp_path / "other.yaml").write_text("adversarial: {steps: 7}\nencoder: {network: {kind: fcn_resnet50}}\n")
    own = "extends: [recipes/base.yaml, other.yaml]\nrun: r\nsynthetic: s\nreal: t\nencoder: {network: {kind: small}}\n"
    (tmp_path / "own.yaml").write_text(own)
    config = load_config(TrainConfig, tmp_path / "own.yaml", ["adversarial.betas=[0.1, 0.2]"])
    assert (config.seed, config.adversarial.steps, config.adversarial.loss) == (1, 7, "bce")
    assert config.adversarial.betas == (0.1, 0.2)
    assert config.encoder.network.kind == "small"


def test_a_config_that_extends_itself_or_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"a\.yaml extends itself"):
        load_config(TrainConfig, tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("extends: missing.yaml\n")
    with pytest.raises(ConfigError, match=r"missing.yaml, which .*c.yaml extends, cannot be read"):
        load_config(TrainConfig, tmp_path / "c.yaml")


CONFIGS = REPOSITORY / "workflows" / "configs"
TRAINING_CONFIGS = sorted(path for path in CONFIGS.glob("*.yaml") if not path.stem.endswith(("evaluation", "_pack")))


@pytest.mark.parametrize("path", TRAINING_CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_fits_the_schema(path: Path) -> None:
    config = train_config(path, [f"{key}={value}" for key, value in TRAIN.items()])
    assert (config.style.kind == "none") == path.stem.endswith("_paper")
    assert config.adversarial.patch_size[0] >= PatchDiscriminator.smallest_input(config.discriminator)


def test_the_papers_recipe_is_the_papers() -> None:
    config = load_config(TrainConfig, CONFIGS / "gta5_cityscapes_paper.yaml", [f"{k}={v}" for k, v in TRAIN.items()])
    game = config.adversarial
    assert (game.loss, game.players, game.identity_weight) == ("bce", "reversal", 1.0)
    assert (game.steps, game.batch_size_per_worker) == (100_000, 8)
    assert game.predictor_learning_rate == game.discriminator_learning_rate == 1e-4
    assert config.prediction_size == (96, 160)
    assert config.head.condition == "encoder"
    assert config.discriminator.shared
    assert TranslationFunction(config.translation).num_params == 12
    assert TranslationFunction(config.translation).radius == 12
