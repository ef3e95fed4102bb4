"""A job is planned, estimated and verified by processes that never load torch, nor Ray; its workers alone have them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import environment
from tests.paths import REPOSITORY
from tests.scenes import Scenes, copy_dataset
from tests.translations import arguments, outputs

_REFUSING = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in refused:
            raise AssertionError(f"{name} is loaded")

refused = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Refuse())
from workflows.__main__ import main
main()
"""


def without(refused: str, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The `dakpn` command in a process in which it is an error to load these packages."""
    command = [sys.executable, "-c", _REFUSING, refused, *map(str, words)]
    return subprocess.run(
        command, env=environment(**env), capture_output=True, text=True, timeout=200, cwd=REPOSITORY, check=False
    )


def test_a_process_that_translates_by_itself_does_load_torch(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    done = without("torch", *arguments(weights, scenes.synthetic, tmp_path / "out", "workers=0"))
    assert done.returncode != 0
    assert "torch is loaded" in done.stderr


@pytest.mark.parametrize("num_gpus", [0, 1])
def test_a_dry_run_measures_in_another_process(scenes: Scenes, weights: str, tmp_path: Path, num_gpus: int) -> None:
    words = arguments(weights, scenes.synthetic, tmp_path / "out", "--dry-run", f"num_gpus={num_gpus}")
    done = without("torch,ray", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 images in 3 shards to translate")
    assert "measured on 12 images here" in done.stdout


def test_a_verification_needs_no_torch(scenes: Scenes, translated: Path) -> None:
    words = ("verify", "--input", scenes.synthetic, "--output", translated, "workers=1")
    done = without("torch,ray", *words)
    assert done.returncode == 0, done.stderr
    assert "complete, 12 labels byte-identical" in done.stdout


def test_workers_on_ray_have_the_torch_that_their_driver_lacks(
    ray_here: str, scenes: Scenes, weights: str, translated: Path, tmp_path: Path
) -> None:
    words = arguments(weights, scenes.synthetic, tmp_path / "out", "workers=1")
    done = without("torch", *words, RAY_ADDRESS=ray_here)
    assert done.returncode == 0, done.stderr
    assert outputs(tmp_path / "out") == outputs(translated)


def test_weights_from_before_there_were_facts_are_loaded_as_the_job_is_planned(
    scenes: Scenes, weights: str, tmp_path: Path
) -> None:
    before = copy_dataset(weights, tmp_path / "weights")
    (before / "facts.json").unlink()
    done = without("torch", *arguments(str(before), scenes.synthetic, tmp_path / "out", "--dry-run"))
    assert done.returncode != 0
    assert "torch is loaded" in done.stderr
