"""`dakpn pack` and `dakpn check` by options and by config: the same settings, and never a mixture of both."""

import json
import shutil
from pathlib import Path

import pytest

from dakpn.config import CheckConfig, PackConfig
from dakpn.datasets import manifest
from tests.command import assert_failed, dakpn
from tests.scenes import Scenes, truncate


@pytest.fixture
def config(scenes: Scenes, tmp_path: Path) -> Path:
    path = tmp_path / "pack.YML"
    path.write_text(f"source: {scenes.source}\ndataset: camvid\nlabels: true\nrows_per_shard: 5\nformat: folder\n")
    return path


def shards(out: Path) -> list[tuple[str, int, str | None]]:
    return [(shard.name, shard.rows, shard.sha256) for shard in manifest.read_index(str(out)).shards]


def test_options_and_config_pack_the_same(config: Path, scenes: Scenes, tmp_path: Path) -> None:
    options = ("--dataset", "camvid", "--labels", "--rows-per-shard", "5", "--format", "folder")
    assert dakpn("pack", scenes.source, tmp_path / "a", *options).returncode == 0
    done = dakpn("pack", config, f"output={tmp_path / 'b'}", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 12
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    runs = [manifest.read_run(str(tmp_path / out)) for out in ("a", "b")]
    assert runs[0] == runs[1]


def test_overrides_win_over_the_config_and_are_taken_by_their_type(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out #1"
    done = dakpn("pack", config, f"output={out}", "labels=no", "format=parquet", "rows_per_shard=12")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"{out}: 12 unlabelled images in 1 shard"
    assert_failed(dakpn("pack", config, f"output={out}", "split=010"), 2, "images/010 does not exist")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("pack", "CONFIG", "labelled=true"), "unknown key labelled; valid here: check, dataset, exclude, format,"),
        (("pack", "CONFIG"), "output is required and not set"),
        (("pack", "CONFIG", "output=o", "workers=0"), "workers = 0: input should be greater than 0"),
        (("pack", "CONFIG", "OUT"), "override 'OUT' is malformed"),
        (("pack", "CONFIG", "output=o", "--no-labels"), "got the option --no-labels beside the config"),
        (("pack", "CONFIG", "--rows-per-shard", "3", "output=o"), "write rows_per_shard=3"),
        (("pack", "SRC", "OUT", "workers=2"), "expected SRC OUT and options"),
        (("pack", "SRC"), "expected SRC OUT and options"),
        (("pack", "missing.yaml", "output=o"), "config missing.yaml cannot be read"),
        (("check", "CONFIG"), "unknown key format; valid here: dataset, fix, labels, orientation, output, sample,"),
        (("check", "SRC", "CONFIG"), "expected SRC and options"),
        (("check", "SRC", "--output", "bad.json"), "belong together"),
        (("check", "SRC", "--fix", "quarantine", "--output", "bad.json", "--sample", "1"), "leave one out"),
    ],
)
def test_what_is_neither_form_is_refused_in_a_sentence(command: tuple[str, ...], words: str, config: Path) -> None:
    assert_failed(dakpn(*(str(config) if word == "CONFIG" else word for word in command)), 2, words)
    assert not Path("OUT").exists()


@pytest.mark.parametrize("command", ["pack", "check"])
def test_a_folder_is_a_source_whatever_its_name(command: str, scenes: Scenes, tmp_path: Path) -> None:
    source = shutil.copytree(scenes.source, tmp_path / "scenes.yaml")
    out = [str(tmp_path / "out")] if command == "pack" else []
    done = dakpn(command, source, *out, "--dataset", "camvid")
    assert done.returncode == 0, done.stderr


def test_a_check_by_config_ends_with_the_codes_of_one_by_options(scenes: Scenes, tmp_path: Path) -> None:
    source = Path(shutil.copytree(scenes.source, tmp_path / "source"))
    config = tmp_path / "check.yaml"
    config.write_text(f"source: {source}\ndataset: camvid\n")
    assert json.loads(dakpn("check", config, "sample=3", "--json").stdout)["checked"] == 3
    truncate(min((source / "images").iterdir()))
    assert dakpn("check", config).returncode == 1
    assert dakpn("check", config, "fix=quarantine", f"output={tmp_path / 'bad.json'}").returncode == 3
    assert len(json.loads((tmp_path / "bad.json").read_text())["bad"]) == 1


@pytest.mark.parametrize("given", [("--config", "CONFIG"), ("--config=CONFIG",)])
def test_the_config_is_taken_as_an_option(given: tuple[str, ...], config: Path, tmp_path: Path) -> None:
    words = (word.replace("CONFIG", str(config)) for word in given)
    assert dakpn("pack", f"output={tmp_path / 'out'}", *words).returncode == 0
    assert len(shards(tmp_path / "out")) == 3


@pytest.mark.parametrize("schema", [PackConfig, CheckConfig])
def test_every_setting_is_described(schema: type[PackConfig | CheckConfig]) -> None:
    assert [name for name, field in schema.model_fields.items() if not field.description] == []
