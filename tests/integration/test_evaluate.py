"""Evaluation through Ray: every contender with every seed, once."""

import json
import shutil
import time
from pathlib import Path

import pytest
import ray

from cluster.failures import actionable_error
from dakpn.config import EvaluateConfig
from dakpn.config_file import build_config
from dakpn.errors import DataError, UsageError
from dakpn.report import render_report
from dakpn.report.run_page import ReportInputs, gather_report
from dakpn.sources.exclusions import source_keys
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


def test_few_real_labels_baselines_and_measures_in_one_evaluation(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    baseline = {
        "generator": {"width": 4, "blocks": 1}, "discriminator": {"widths": [4, 4]}, "steps": 2,
        "batch_size_per_worker": 1,
    }  # fmt: skip
    contenders = {
        "source-only": {"kind": "source_only"},
        "CycleGAN": {"kind": "cyclegan", **baseline},
        "CUT / then DA-KPN": {
            "kind": "chain",
            "parts": [{"kind": "cut", "patches": 8, **baseline}, {"kind": "dakpn", "weights": weights}],
        },
        "real-only": {"kind": "real_only"},
    }
    settings = config(
        tmp_path, scenes, contenders=contenders, synthetic=scenes.synthetic, real=scenes.real,
        real_labelled={"dataset": scenes.test, "counts": [0, 2, "all"], "draws": 2},
        measures={"images": 4, "pictures": 2, "extractor": "none"}, workers=1,
    )  # fmt: skip
    returned = evaluate.main(settings)
    grid = [(cell["contender"], cell["real_labelled"], cell["draw"]) for cell in returned]
    translators = ("source-only", "CycleGAN", "CUT / then DA-KPN")
    assert grid == [(name, *at) for name in translators for at in ((0, 0), (2, 0), (2, 1), (8, 0))] + [
        ("real-only", *at) for at in ((2, 0), (2, 1), (8, 0))
    ]
    results = json.loads((tmp_path / "results.json").read_text())
    assert [measured["contender"] for measured in results["measures"]] == list(translators)
    assert results["measures"][0]["displacement"]["moved"] == 0
    assert results["measures"][1]["training_seconds"] > 0
    chosen = {}
    for path in (tmp_path / "cells").glob("*real2-*.json"):
        cell = json.loads(path.read_text())
        chosen.setdefault(cell["draw"], set()).add(tuple(cell["real_keys"]))
        assert cell["protocol"]["real_labelled"] == len(cell["real_keys"]) == 2
    assert [len(keys) for keys in chosen.values()] == [1, 1]  # the same images for every contender
    assert chosen[0] != chosen[1]

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    evaluate.main(settings)
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"results.json"}  # written anew, with the same bytes
    assert json.loads((tmp_path / "results.json").read_text()) == results

    page = render_report(gather_report(ReportInputs(run=str(tmp_path))))
    for words in ("Few real labels", "Contact sheet", "CUT / then DA-KPN", "Worst cases", "Realism, honesty, cost"):
        assert words in page


def test_each_sequence_of_the_test_set_is_scored_by_itself(
    evaluated: Path, scenes: Scenes, weights: str, tmp_path: Path
) -> None:
    contenders = {
        "source-only": scenes.synthetic,
        "other": scenes.test,
        "DA-KPN": {"kind": "dakpn", "weights": weights},
    }
    settings = config(
        tmp_path, scenes, contenders=contenders, synthetic=scenes.synthetic, seeds=[0, 1], test_sequence="(.)$",
        workers=1,
    )  # fmt: skip
    returned = evaluate.main(settings)
    assert returned[0]["miou"] == cells(evaluated)[0]["miou"]  # of the same training, over the whole test set
    names = {key[-1] for key in source_keys(scenes.test, None, None)}
    assert len(names) > 1
    for cell in returned:
        assert cell["sequences"].keys() == names
        shares = [score["pixel_accuracy"] for score in cell["sequences"].values()]
        assert min(shares) <= cell["pixel_accuracy"] <= max(shares)
        assert min(shares) < max(shares)
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    first = [cell["sequences"] for cell in returned if cell["contender"] == "source-only"]
    for name in names:
        assert summary[0]["sequences"][name] == pytest.approx(sum(s[name]["miou"] for s in first) / 2)
    ours = summary[-1]["against_each"]
    assert [difference["name"] for difference in ours] == ["source-only", "other"]
    assert ours[1]["mean"] == pytest.approx(summary[2]["miou"] - summary[1]["miou"])
    page = render_report(gather_report(ReportInputs(run=str(tmp_path))))
    assert "DA-KPN against" in page
    assert f"<th>{min(names)}</th>" in page


def test_a_folder_of_images_takes_the_labels_of_the_synthetic_keys(scenes: Scenes, tmp_path: Path) -> None:
    painted = tmp_path / "painted"
    shutil.copytree(scenes.source / "images", painted)
    settings = config(
        tmp_path / "out", scenes, contenders={"same": str(painted), "source-only": {"kind": "source_only"}},
        synthetic=scenes.synthetic, workers=1,
    )  # fmt: skip
    same, source_only = evaluate.main(settings)
    assert same["per_class_iou"] == source_only["per_class_iou"]
    lost = next(painted.iterdir())
    lost.unlink()
    with pytest.raises(UsageError, match=f"has no image for 1 keys of .*, such as {lost.stem}"):
        evaluate.main(settings)


def test_what_cannot_work_is_said_before_anything_is_trained(scenes: Scenes, tmp_path: Path) -> None:
    few = {"dataset": scenes.test, "counts": [5], "sequence": "^(.*)$"}
    for values, words in (
        ({"contenders": {"fda": {"kind": "fda"}}, "synthetic": scenes.synthetic}, "contender fda needs `real`"),
        ({"real_labelled": few}, "no sequence of .* has 5 images"),
        ({"real_labelled": {"dataset": scenes.test, "counts": [9]}}, "got 9 real labelled images to choose from 8"),
        ({"measures": {}}, "set `synthetic` and `real`"),
        ({"test_sequence": "^(night)_"}, r"test_sequence '\^\(night\)_' does not match the key"),
    ):
        with pytest.raises(UsageError, match=words):
            evaluate.main(config(tmp_path / "out", scenes, **values))
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_the_cluster_lacks_is_refused_before_any_work(scenes: Scenes, tmp_path: Path) -> None:
    if ray.cluster_resources().get("GPU", 0):
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match=r"num_gpus is 0\.5, but Ray finds 0 GPUs .* set num_gpus=0"):
        evaluate.main(config(tmp_path, scenes, num_gpus=0.5))
    assert not (tmp_path / "cells").exists()


def test_an_evaluation_says_how_long_it_takes_and_one_that_takes_too_long_is_refused(
    scenes: Scenes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = {"size": [24, 32], "steps": 400, "batch_size_per_worker": 2}
    with (
        caplog.at_level("INFO"),
        pytest.raises(UsageError, match=r"more than max_hours=1e-07: raise it, or take fewer"),
    ):
        evaluate.main(config(tmp_path, scenes, training=long, max_hours=1e-7))
    assert "a step of source-only takes" in caplog.text
    assert "for 2 cells of 400 steps, 2 at a time" in caplog.text
    assert not (tmp_path / "cells").exists()
