"""What a user sees of a command that works on Ray: our own lines, and none of Ray's loggers, core or workers."""

import re
from pathlib import Path

import pytest
import yaml

from tests.command import dakpn_process
from tests.scenes import TINY_TRAINING, Scenes

OURS = re.compile(r"\d\d:\d\d:\d\d (INFO|WARNING) ")


@pytest.mark.slow
def test_packing_and_training_on_a_cluster_show_our_lines_alone(ray_here: str, scenes: Scenes, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(TINY_TRAINING))
    datasets = (f"synthetic={scenes.synthetic}", f"real={scenes.real}")
    for words in (
        ("pack", scenes.source, tmp_path / "packed", "--workers", "2", "--rows-per-shard", "4"),
        ("train", tmp_path / "train.yaml", f"run={tmp_path}/run", *datasets, "workers=1"),
    ):
        done = dakpn_process(*words, RAY_ADDRESS=ray_here)
        assert done.returncode == 0, done.stderr
        lines = done.stderr.splitlines()
        assert lines
        assert [line for line in lines if not OURS.match(line)] == [], words[0]
