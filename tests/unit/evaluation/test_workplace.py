"""Where an evaluation computes: on a device that is not the CPU, in bounded memory, and from where it was stopped."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dakpn.config import EvaluateConfig
from dakpn.config_file import build_config
from dakpn.errors import UsageError
from dakpn.evaluation import cells, image_sets
from dakpn.evaluation.baselines.store import planned_baselines, trained_baseline
from dakpn.evaluation.cells import Cell, plan_cells, run_cell, seconds_of_step
from dakpn.evaluation.contender import LabelledImage
from dakpn.evaluation.contenders.recoloring import Fourier, Reinhard
from dakpn.evaluation.image_sets import read_examples, read_images
from dakpn.evaluation.measures.measure import measure_contender, measured_contenders, prepare_measures
from dakpn.evaluation.workplace import described_precision
from dakpn.models.precision import CPU
from dakpn.segmentation.examples import LabelledExamples, ResidentExamples, StreamedExamples, resident
from dakpn.segmentation.fit import Workplace, fit_segmenter
from dakpn.training.loop import take_step
from tests.fake_gpu import fake_gpu
from tests.scenes import Scenes

GENERATOR: dict[str, Any] = {
    "generator": {"width": 4, "blocks": 1}, "discriminator": {"widths": [8]}, "steps": 2, "batch_size_per_worker": 2,
}  # fmt: skip


def evaluation(output: Path, scenes: Scenes, **more: Any) -> EvaluateConfig:
    values: dict[str, Any] = {
        "output": str(output), "contenders": {"plain": {"kind": "source_only"}}, "synthetic": scenes.synthetic,
        "real": scenes.real, "real_test": scenes.test, "seeds": [0], "network": {"widths": [4, 8, 8, 16]},
        "training": {"size": [24, 32], "steps": 2, "batch_size_per_worker": 2},
    }  # fmt: skip
    return build_config(EvaluateConfig, values | more)


def contenders(weights: str) -> dict[str, Any]:
    ours = {"kind": "dakpn", "weights": weights, "strength": "random"}
    return {
        "plain": {"kind": "source_only"},
        "reinhard": {"kind": "reinhard"},
        "fda": {"kind": "fda", "band": 0.1},
        "matched": {"kind": "histogram_matching"},
        "ours": ours,
        "perturbed": {"kind": "chain", "parts": [ours, {"kind": "perturbation"}]},
        "cyclegan": {"kind": "cyclegan", **GENERATOR},
        "cut": {"kind": "cut", "patches": 8, "embedding": 8, **GENERATOR},
        "around ours": {"kind": "self_training", "images": ours},
    }


def test_baselines_cells_and_measures_run_on_a_device(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    """No tensor of the CPU meets one of the device, for any contender, with and without real labels."""
    config = evaluation(
        tmp_path, scenes, contenders=contenders(weights), oracle=scenes.test,
        real_labelled={"dataset": scenes.test, "counts": [0, 2], "draws": 1},
        measures={"images": 2, "pictures": 1, "extractor": "none"},
    )  # fmt: skip
    with fake_gpu() as gpu:
        for job in planned_baselines(config):
            trained_baseline(config, job.baseline, job.seed, gpu.device)
        for cell in plan_cells(config):
            assert "miou" in run_cell(config, cell, gpu.device)
        prepare_measures(config, config.measures, gpu.device)
        for name in measured_contenders(config):
            assert measure_contender(config, config.measures, name, gpu.device)["images"] == 2


@pytest.mark.parametrize("build", [Reinhard, lambda references, **at: Fourier(references, 0.1, **at)])
def test_recoloring_on_a_device_gives_the_same_picture_to_a_grey_level(build: Any) -> None:
    rng = np.random.default_rng(0)
    references = rng.integers(30, 220, (3, 24, 32, 3), dtype=np.uint8)
    seen = LabelledImage("k", rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.zeros((24, 32), np.uint8))
    for draw in range(4):
        here, there = (build(references, device=device).translate(seen, draw).astype(int) for device in (None, CPU))
        assert np.abs(here - there).max() <= 1
        assert (here != seen.image).mean() > 0.5


@pytest.mark.parametrize("use", ["mixed", "fine_tune", "self_training"])
def test_a_stopped_cell_goes_on_and_ends_as_one_that_never_stopped(
    use: str, scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contender: dict[str, Any] = {"kind": "reinhard"}
    if use == "self_training":
        contender, use = {"kind": "self_training", "images": contender}, "mixed"
    given = {
        "contenders": {"contender": contender},
        "real_labelled": {"dataset": scenes.test, "counts": [2], "draws": 1, "use": use},
        "training": {"size": [24, 32], "steps": 6, "batch_size_per_worker": 2},
        "checkpoint_every": 2,
    }
    whole, stopped = (evaluation(tmp_path / name, scenes, **given) for name in ("whole", "stopped"))
    (cell,) = plan_cells(whole)
    expected = run_cell(whole, cell)
    taken = count_steps(monkeypatch, stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        run_cell(stopped, cell)
    assert [path.name for path in (tmp_path / "stopped/unfinished").glob("*/step-*")] == ["step-00000004"]
    taken.clear()
    assert run_cell(stopped, cell) == expected
    assert len(taken) == 2
    assert not list((tmp_path / "stopped/unfinished").rglob("*.safetensors"))


def test_a_stopped_baseline_goes_on_and_ends_as_one_that_never_stopped(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contender = {"cut": {"kind": "cut", "patches": 8, "embedding": 8, **GENERATOR, "steps": 6}}
    whole, stopped = (
        evaluation(tmp_path / name, scenes, contenders=contender, checkpoint_every=2) for name in ("whole", "stopped")
    )
    (job,) = planned_baselines(whole)
    expected = trained_baseline(whole, job.baseline, 0).state_dict()
    taken = count_steps(monkeypatch, stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        trained_baseline(stopped, job.baseline, 0)
    taken.clear()
    found = trained_baseline(stopped, job.baseline, 0).state_dict()
    assert len(taken) == 2
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def count_steps(monkeypatch: pytest.MonkeyPatch, stop_after: int) -> list[int]:
    """The steps taken from here on; the process is stopped once after so many."""
    taken: list[int] = []
    stops = iter([True])

    def step(state: Any, *rest: Any) -> Any:
        if len(taken) == stop_after and next(stops, False):
            raise KeyboardInterrupt
        taken.append(state.step)
        return take_step(state, *rest)

    monkeypatch.setattr("dakpn.training.loop.take_step", step)
    return taken


@pytest.fixture
def no_kept_datasets() -> Iterator[None]:
    for kept in (image_sets._examples, image_sets._streamed):
        kept.cache_clear()
    return


@pytest.mark.usefixtures("no_kept_datasets")
def test_a_dataset_that_does_not_fit_is_read_as_it_is_drawn_and_gives_the_same_batches(scenes: Scenes) -> None:
    held, streamed = (read_examples(scenes.synthetic, (24, 32), most) for most in (1.0, 1e-6))
    assert isinstance(held, LabelledExamples)
    assert isinstance(streamed, StreamedExamples)
    assert streamed.keys == held.keys
    np.testing.assert_array_equal(streamed.pixel_counts(), held.pixel_counts())
    for draw in (
        lambda examples: examples.random_batches(3, 5, 1),
        lambda examples: examples.subset([7, 0, 3]).ordered_batches(2),
        lambda examples: examples.subset([7, 0, 3]).held().ordered_batches(2),
    ):
        for ours, theirs, _ in zip(draw(held), draw(streamed), range(3), strict=False):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)
    whole, some = read_images(scenes.real, (24, 32)), read_images(scenes.real, (24, 32), 16e-6)
    assert 1 < len(some) < len(whole)
    assert all(np.array_equal(image, whole[key]) for key, image in some.items())


@pytest.mark.usefixtures("no_kept_datasets")
def test_an_evaluation_of_datasets_that_do_not_fit_scores_as_one_in_memory(scenes: Scenes, tmp_path: Path) -> None:
    results = []
    for name, most in (("held", 8.0), ("streamed", 1e-6)):
        config = evaluation(tmp_path / name, scenes, memory_gigabytes=most)
        (cell,) = plan_cells(config)
        results.append(run_cell(config, cell))
    assert results[0]["per_class_iou"] == results[1]["per_class_iou"]
    assert ["memory_gigabytes" in result["protocol"] for result in results] == [False, True]


def test_images_stay_on_the_device_if_they_fit_and_give_the_same_batches(scenes: Scenes) -> None:
    examples = read_examples(scenes.synthetic, (24, 32))
    assert isinstance(examples, LabelledExamples)
    assert resident(examples, CPU, 1.0) is examples
    meta = torch.device("meta")
    assert resident(examples, meta, 1e-6) is examples
    assert isinstance(resident(examples, meta, 1.0), ResidentExamples)
    placed = ResidentExamples(torch.from_numpy(examples.images), torch.from_numpy(examples.labels), examples)
    for ours, theirs, _ in zip(examples.random_batches(3, 1), placed.random_batches(3, 1), range(3), strict=False):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


def test_a_cell_may_compute_in_bfloat16_and_its_protocol_says_so(scenes: Scenes, tmp_path: Path) -> None:
    results = []
    for precision in ("float32", "bfloat16"):
        config = evaluation(tmp_path / precision, scenes, precision=precision)
        (cell,) = plan_cells(config)
        results.append(run_cell(config, cell))
        assert results[-1]["protocol"]["precision"] == precision
    assert results[0]["digest"] != results[1]["digest"]
    assert results[0]["per_class_iou"] != results[1]["per_class_iou"]
    assert [described_precision(evaluation(tmp_path, scenes, num_gpus=n)) for n in (0, 0.3)] == ["float32", "bfloat16"]


def test_a_step_is_timed_without_what_happens_once_and_leaves_nothing_behind(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = evaluation(tmp_path, scenes)
    (cell,) = plan_cells(config)
    pauses = iter([3.0])  # such as imports and reading, in the first training alone

    def slow_at_first(*arguments: Any) -> nn.Module:
        time.sleep(next(pauses, 0.0))
        return fit_segmenter(*arguments)

    monkeypatch.setattr(cells, "fit_segmenter", slow_at_first)
    assert seconds_of_step(config, cell) > 0
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_and_one_that_is_too_small_are_one_sentence(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = evaluation(tmp_path, scenes, num_gpus=0.5)
    cell = Cell("plain", 0, 0, 0, "sha256:0")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r"num_gpus is 0\.5, but torch finds no GPU here; set num_gpus=0"):
            run_cell(config, cell)

    def too_large(*unused: Any) -> nn.Module:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cells, "fit_segmenter", too_large)
    with pytest.raises(UsageError, match=r"too little memory for a training of 2 images of 32 x 24 .* num_gpus=0\.5"):
        cells._fitted(config, cell, read_examples(scenes.synthetic, (24, 32)), Workplace())
