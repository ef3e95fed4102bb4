"""`dakpn check`: its tables, its JSON, its exit codes, and its list of bad rows for `dakpn pack`."""

import json
import shutil
from pathlib import Path

import pytest

from tests.command import assert_failed, dakpn
from tests.scenes import Scenes, truncate


@pytest.fixture
def source(scenes: Scenes, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scenes.source, tmp_path / "straße 1"))


def test_a_clean_dataset_exits_with_0_and_a_table(source: Path) -> None:
    done = dakpn("check", source, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "12, all checked" in done.stdout
    assert "64 x 48: 12 images" in done.stdout
    assert "no problems" in done.stdout
    assert "Traceback" not in done.stderr


def test_problems_exit_with_1_or_quarantined_with_3_and_packing_goes_on_without_them(source: Path) -> None:
    bad = sorted((source / "images").iterdir())[3]
    truncate(bad)
    done = dakpn("check", source, "--json")
    assert done.returncode == 1, done.stderr
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["kind"], problem["path"]) == ("damaged", str(bad))

    listed, out = source.parent / "bad.json", source.parent / "out"
    assert dakpn("check", source, "--fix", "quarantine", "--output", listed).returncode == 3
    assert bad.exists()
    done = dakpn("pack", source, out, "--exclude", listed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"{out}: 11 labelled images in 1 shard"
    assert "rows that were excluded" in done.stdout
    assert bad.stem in (out / "_dakpn/run.json").read_text()


def test_wrong_usage_exits_with_2(source: Path, scenes: Scenes) -> None:
    assert_failed(dakpn("check", source, "--fix", "quarantine"), 2, "--output")
    assert_failed(dakpn("check", source / "images", "--dataset", "gta5"), 2, str(source))
    assert_failed(dakpn("check", scenes.synthetic, "--dataset", "camvid"), 2, "has its own classes")
