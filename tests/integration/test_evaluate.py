"""Evaluation through Ray: every contender with every seed, once."""

import json
import time
from pathlib import Path

import pytest

from cluster.failures import actionable_error
from dakpn.config import EvaluateConfig
from dakpn.config_file import build_config
from dakpn.errors import DataError, UsageError
from tests.scenes import Scenes, copy_dataset, truncate
from workflows import evaluate

pytestmark = pytest.mark.usefixtures("ray_here")


def config(output: Path, scenes: Scenes, **more) -> EvaluateConfig:
    values = {
        "output": str(output),
        "contenders": {"source-only": scenes.synthetic, "other": scenes.test},
        "real_test": scenes.test,
        "seeds": [0],
        "network": {"widths": [4, 8, 8, 16]},
        "training": {"size": [24, 32], "steps": 3, "batch_size_per_worker": 2},
    }
    return build_config(EvaluateConfig, values | more)


@pytest.fixture(scope="module")
def evaluated(ray_here: str, scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluated")
    evaluate.main(config(output, scenes))
    return output


def cells(output: Path) -> list[dict]:
    return json.loads((output / "results.json").read_text())["cells"]


def test_every_contender_is_scored_with_every_seed(scenes: Scenes, tmp_path: Path) -> None:
    returned = evaluate.main(config(tmp_path, scenes, seeds=[3, 5], oracle=scenes.test))
    assert [(cell["contender"], cell["seed"]) for cell in returned] == [
        (name, seed) for name in ("source-only", "other", "oracle") for seed in (3, 5)
    ]
    assert [cell["miou"] for cell in cells(tmp_path)] == [cell["miou"] for cell in returned]
    for cell in returned:
        present = [iou for iou in cell["per_class_iou"] if iou is not None]
        assert len(cell["per_class_iou"]) == 11
        assert cell["miou"] == pytest.approx(sum(present) / len(present))
        assert 0 <= cell["miou"] <= 1
    # The oracle trains on what "other" trains on: same data, same seed, same score.
    assert [cell["miou"] for cell in returned[2:4]] == [cell["miou"] for cell in returned[4:6]]
    assert returned[0]["per_class_iou"] != returned[1]["per_class_iou"]


def test_a_rerun_reads_its_cells_back(evaluated: Path, scenes: Scenes) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (evaluated / "cells").iterdir()}
    results = (evaluated / "results.json").read_bytes()
    started = time.perf_counter()
    evaluate.main(config(evaluated, scenes))
    assert time.perf_counter() - started < 10
    assert {path.name: path.stat().st_mtime_ns for path in (evaluated / "cells").iterdir()} == before
    assert (evaluated / "results.json").read_bytes() == results


def test_a_damaged_cell_is_made_again_with_the_same_score(evaluated: Path, scenes: Scenes, tmp_path: Path) -> None:
    copied = copy_dataset(str(evaluated), tmp_path / "copied")
    for path in (copied / "cells").iterdir():
        truncate(path)
    evaluate.main(config(copied, scenes))
    assert cells(copied) == cells(evaluated)


def test_another_protocol_is_not_answered_with_old_scores(evaluated: Path, scenes: Scenes, tmp_path: Path) -> None:
    copied = copy_dataset(str(evaluated), tmp_path / "copied")
    training = {"size": [24, 32], "steps": 4, "batch_size_per_worker": 2}
    evaluate.main(config(copied, scenes, training=training))
    before, after = cells(evaluated), cells(copied)
    assert all(old["digest"] != new["digest"] for old, new in zip(before, after, strict=True))
    assert [cell["per_class_iou"] for cell in before] != [cell["per_class_iou"] for cell in after]


def test_a_contender_without_labels_is_refused_before_anything_is_trained(scenes: Scenes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{scenes.real} has no labels"):
        evaluate.main(config(tmp_path / "out", scenes, contenders={"bare": scenes.real}))
    assert not (tmp_path / "out").exists()


def test_a_damaged_contender_is_named(scenes: Scenes, tmp_path: Path) -> None:
    damaged = copy_dataset(scenes.synthetic, tmp_path / "damaged")
    truncate(damaged / "train-00001-of-00003.parquet")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever Ray wraps around it
        evaluate.main(config(tmp_path / "out", scenes, contenders={"damaged": str(damaged)}))
    error = actionable_error(caught.value)
    assert isinstance(error, DataError)
    assert f"{damaged}/train-00001-of-00003.parquet" in str(error)
    assert not (tmp_path / "out/results.json").exists()
