"""The command line: help, exit codes, and one sentence in place of every traceback."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from dakpn import __version__
from dakpn.images import codec
from tests.command import assert_failed, dakpn, dakpn_process, environment
from tests.paths import REPOSITORY
from tests.scenes import Scenes, truncate

COMMANDS = ("pack", "check", "train", "translate", "verify", "evaluate", "tune", "report", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_what_a_command_is_for(command: str) -> None:
    done = dakpn(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"Usage: .* {command} ", done.stdout)


def test_the_command_is_a_process_that_lists_its_commands_and_fails_in_one_sentence(tmp_path: Path) -> None:
    done = dakpn_process("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout
    assert all(name in done.stdout for name in COMMANDS)
    assert_failed(dakpn_process("pack", tmp_path / "nowhere", tmp_path / "out"), 2, f"{tmp_path}/nowhere")


_WITHOUT_RAY = """
import sys
import ray
def refuse(*arguments, **settings): raise SystemExit("Ray was started")
ray.init = refuse
from dakpn.config import TranslateConfig, VerifyConfig
from workflows import translate, verify
weights, source, output = sys.argv[1:]
translate.main(TranslateConfig(weights=weights, input=source, output=output, workers=0))
print(verify.main(VerifyConfig(input=source, output=output, workers=1)))
"""


def test_one_process_translates_and_verifies_without_a_ray(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WITHOUT_RAY, weights, scenes.synthetic, str(tmp_path / "out")]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY
    )
    assert (done.returncode, done.stdout) == (0, "12\n"), done.stderr


def test_the_version_is_printed() -> None:
    done = dakpn("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dakpn {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("translat",), ("pack",), ("pack", "a", "b", "--bogus")])
def test_wrong_usage_exits_with_2_and_says_so_on_stderr(arguments: tuple[str, ...]) -> None:
    done = dakpn(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def source(scenes: Scenes, tmp_path: Path) -> Path:
    """Four pairs of a name with a space and an accent, to be damaged."""
    root = tmp_path / "straße 1"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
        for path in sorted((scenes.source / kind).iterdir())[:4]:
            shutil.copy(path, root / kind)
    return root


def first(root: Path, kind: str) -> Path:
    return sorted((root / kind).iterdir())[0]


def pack(source: Path, *options: str) -> tuple[CompletedProcess[str], Path]:
    out = source.parent / "packed"
    return dakpn("pack", source, out, "--rows-per-shard", "2", *options), out


def assert_nothing_counts_as_done(out: Path) -> None:
    assert not (out / "_SUCCESS").exists()
    done = dakpn("verify", "--input", out, "--output", out)
    assert_failed(done, 2, str(out))


def test_a_packed_folder_is_summed_up_on_stdout(source: Path) -> None:
    done, out = pack(source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"{out}: 4 labelled images in 2 shards"
    assert "what the source holds" in done.stdout
    assert (out / "_SUCCESS").exists()


def _remove_all(source: Path) -> Path:
    shutil.rmtree(source)
    return source


def _remove_images(source: Path) -> Path:
    for path in (source / "images").iterdir():
        path.unlink()
    return source / "images"


def _remove_label(source: Path) -> Path:
    first(source, "labels").unlink()
    return first(source, "images")


@pytest.mark.parametrize("damage", [_remove_all, _remove_images, _remove_label])
def test_a_folder_that_is_not_in_the_presets_layout_is_wrong_usage(source: Path, damage: Callable) -> None:
    named = damage(source)
    done, out = pack(source)
    assert_failed(done, 2, str(named))
    assert not out.exists()


def _shrink_label(source: Path) -> Path:
    path = first(source, "labels")
    path.write_bytes(codec.encode_label(codec.decode_label(path.read_bytes(), "label")[:-1]))
    return path


def _unknown_id(source: Path) -> Path:
    path = first(source, "labels")
    label = codec.decode_label(path.read_bytes(), "label")
    label[3, 4] = 77
    path.write_bytes(codec.encode_label(label))
    return path


def _truncate_image(source: Path) -> Path:
    truncate(first(source, "images"))
    return first(source, "images")


def _text_for_image(source: Path) -> Path:
    first(source, "images").write_text("not an image")
    return first(source, "images")


def _colored_label(source: Path) -> Path:
    path = first(source, "labels")
    path.write_bytes(codec.encode_image(np.zeros((48, 64, 3), np.uint8), "png"))
    return path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_shrink_label, "64 x 47 pixels, expected 64 x 48"),
        (_unknown_id, "unknown label id 77 (1 pixels)"),
        (_truncate_image, "truncated"),
        (_text_for_image, "expected a PNG or JPEG"),
        (_colored_label, "single channel of class ids"),
    ],
)
def test_a_file_that_cannot_be_used_fails_the_pack_and_is_named(source: Path, damage: Callable, words: str) -> None:
    named = damage(source)
    done, out = pack(source)
    assert_failed(done, 1, str(named), words)
    assert not (out / "_SUCCESS").exists()


def test_what_a_failed_pack_left_is_not_taken_for_a_dataset_until_it_is_mended(source: Path) -> None:
    last = sorted((source / "images").iterdir())[-1]
    whole = last.read_bytes()
    truncate(last)
    done, out = pack(source)
    assert_failed(done, 1, str(last))
    assert list(out.glob("*.parquet"))  # the first shard is there
    assert_nothing_counts_as_done(out)
    last.write_bytes(whole)
    assert pack(source)[0].returncode == 0
    assert (out / "_SUCCESS").exists()


def test_an_unknown_preset_is_answered_with_the_known_ones(source: Path) -> None:
    done, out = pack(source, "--dataset", "cityscape")
    assert_failed(done, 2, "'cityscape'", "camvid")
    assert not out.exists()


def test_an_unwritable_output_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = dakpn("pack", source, tmp_path / "file" / "out")
    assert_failed(done, 1, str(tmp_path / "file" / "out"))


@pytest.mark.parametrize(
    ("text", "override", "words"),
    [
        ("seeed: 1\n", "seed=1", ("unknown key seeed", "valid here", "seed")),
        ("seed: 1\n", "encoder.training.stepz=1", ("unknown key encoder.training.stepz", "steps")),
        ("seed: 1\n", "adversarial.steps=many", ("adversarial.steps = 'many'", "integer")),
        ("seed: 1\n", "adversarial.steps", ("malformed", "dotted.key=value")),
        ("seed: [1\n", "seed=1", ("train.yaml", "not valid YAML")),
    ],
)
def test_a_config_that_does_not_fit_is_wrong_usage(
    tmp_path: Path, text: str, override: str, words: tuple[str, ...]
) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(text)
    done = dakpn("train", config, "run=r", "synthetic=s", "real=t", override)
    assert_failed(done, 2, *words)


def test_a_missing_config_file_is_wrong_usage(tmp_path: Path) -> None:
    for command in ("train", "evaluate"):
        assert_failed(dakpn(command, tmp_path / "no.yaml"), 2, str(tmp_path / "no.yaml"))


def test_a_module_takes_its_config_as_an_option_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as users start it: `dakpn train` in a process of its own is `python -m workflows.train`."""
    done = subprocess.run(
        [sys.executable, "-m", "workflows.train", "seed=1", "--config", "none.yaml"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
    )
    assert_failed(done, 2, "config none.yaml cannot be read")


def test_training_on_what_was_never_packed_is_wrong_usage(scenes: Scenes, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(f"run: {tmp_path}/run\nsynthetic: {scenes.source}\nreal: {scenes.real}\n")
    assert_failed(dakpn("train", config), 2, str(scenes.source), "dakpn pack")
    assert_failed(dakpn("train", config, f"synthetic={scenes.real}"), 2, scenes.real, "no labels")
    assert not (tmp_path / "run").exists()


def test_translating_with_weights_that_are_not_there_fails_and_writes_nothing(scenes: Scenes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = dakpn("translate", "--weights", tmp_path / "nowhere", "--input", scenes.synthetic, "--output", out)
    assert_failed(done, 1, f"{tmp_path}/nowhere", "finished training run")
    assert not out.exists()


def test_a_report_on_no_run_is_wrong_usage(tmp_path: Path) -> None:
    assert_failed(dakpn("report", tmp_path), 2, str(tmp_path), "not a training run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["gs://bucket/data", "s3:///data", "s3://KEY:SECRET@bucket/data"])
def test_a_uri_that_cannot_be_used_is_refused_without_repeating_secrets(source: Path, uri: str) -> None:
    sentence = assert_failed(dakpn("pack", source, uri), 1)
    assert "SECRET" not in sentence
