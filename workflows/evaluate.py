"""Evaluate: train the same segmenter per contender and seed as Ray tasks, score each on real images."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.pool import run_tasks
from cluster.session import ray_session, require_gpus
from dakpn import storage
from dakpn.config import EvaluateConfig, MeasuresConfig
from dakpn.config_file import to_yaml
from dakpn.errors import UsageError
from dakpn.evaluation.baselines.store import BaselineJob, needs_baseline, planned_baselines, trained_baseline
from dakpn.evaluation.cells import Cell, finished_cell, plan_cells, run_cell, seconds_of_step
from dakpn.evaluation.measures.measure import measure_contender, measured_contenders, prepare_measures
from dakpn.evaluation.protocol import describe_protocol
from dakpn.evaluation.statistics import difference_text, score_text, sequence_names, sequence_text, summarize
from dakpn.evaluation.workplace import device_of
from dakpn.progress import progress
from dakpn.segmentation.examples import limit_threads
from dakpn.wording import counted, duration

logger = logging.getLogger(__name__)

J = TypeVar("J")
R = TypeVar("R")
_WIDTH_IN_FILES = 140
_WORTH_TIMING = 500
_ONLY_IN_CELL_FILES = {"protocol", "real_keys"}


def main(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Run every cell that has no result yet, write `results.json` and return all results in the cells' order.

    Raises:
        UsageError: a dataset is missing, unlabelled or has other classes than the test set.
    """
    cells = plan_cells(config)
    storage.preflight(config.output, write=True)
    with ray_session(cpus=config.workers):
        if config.num_gpus:
            require_gpus(config.num_gpus, f"num_gpus is {config.num_gpus:g}", "set num_gpus=0")
        finished = {cell: done for cell in cells if (done := finished_cell(config, cell)) is not None}
        _estimate(config, [cell for cell in cells if cell not in finished])
        _train_baselines(config)
        results = _run_cells(config, cells, finished)
        measures = _measure(config)
    ordered = [{name: value for name, value in r.items() if name not in _ONLY_IN_CELL_FILES} for r in results]
    storage.write_json(
        storage.join(config.output, "results.json"),
        {
            "cells": ordered,
            "summary": summarize(config, ordered),
            "measures": measures,
            "protocol": describe_protocol(config),
            "config": to_yaml(config),
        },
    )
    return ordered


def _run_cells(
    config: EvaluateConfig, cells: Sequence[Cell], finished: Mapping[Cell, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The results of all cells, finished or not."""
    todo = [cell for cell in cells if cell not in finished]
    logger.info("%d of %s to do", len(todo), counted(len(cells), "cell"))
    done = _run_all(_run_cell, config, todo, ("evaluating", "cells"), _describe_cell)
    results = {**finished, **dict(zip(todo, done, strict=True))}
    return [results[cell] for cell in cells]


def _estimate(config: EvaluateConfig, todo: Sequence[Cell]) -> None:
    """Say how long the cells will take, by a few steps of the first one that waits for no baseline.

    Raises:
        UsageError: too long.
    """
    steps = len(todo) * config.training.steps
    timed = next((cell for cell in todo if not needs_baseline(config, cell.contender)), None)
    if steps < _WORTH_TIMING or timed is None:
        return
    ((_, step),) = run_tasks(_seconds_of_step, [timed], 1, config, num_gpus=config.num_gpus)
    at_once = min(config.workers, len(todo))
    if config.num_gpus:
        at_once = max(1, min(at_once, int(ray.cluster_resources().get("GPU", 0) / config.num_gpus)))
    seconds = steps * step / at_once
    logger.info(
        "a step of %s takes %.2g s: about %s for %s of %d steps, %d at a time",
        timed.contender, step, duration(seconds), counted(len(todo), "cell"), config.training.steps, at_once,
    )  # fmt: skip
    if seconds > config.max_hours * 3600:
        raise UsageError(
            f"the evaluation would take about {duration(seconds)}, more than max_hours={config.max_hours:g}: raise it, "
            "or take fewer seeds, contenders, draws or training.steps, more workers, or GPUs (num_gpus)"
        )


def _train_baselines(config: EvaluateConfig) -> None:
    baselines = planned_baselines(config)
    if baselines:
        logger.info("%s to train or to find trained", counted(len(baselines), "baseline"))
    shown = ("training baselines", "baselines")
    _run_all(_train_baseline, config, baselines, shown, lambda job, _: f"{job.baseline.kind}, seed {job.seed}: trained")


def print_summary(output: str) -> None:
    """A table of mIoU in percent with paired differences, to stdout; `output` is a finished evaluation's folder."""
    rows = storage.read_json(storage.join(output, "results.json"))["summary"]
    sequences = sequence_names(rows)
    few = len({row["real_labelled"] for row in rows}) > 1
    columns = ["contender", *(["real labelled"] if few else []), "mIoU", *sequences, "scores", "against source-only"]
    table = Table(*columns, "against the best other", title="mIoU on real images, percent; differences in points")
    for row in sorted(rows, key=lambda row: row["real_labelled"]):
        best = row["against_best_other"]
        table.add_row(
            escape(row["contender"]),
            *([str(row["real_labelled"])] if few else []),
            score_text(row),
            *(sequence_text(row, name) for name in sequences),
            str(row["scores"]),
            escape(difference_text(row["against_source_only"])),
            escape(f"{difference_text(best)} {best['name']}" if best else ""),
        )
    console = Console()
    console.print(table, width=None if console.is_terminal else _WIDTH_IN_FILES, crop=False, soft_wrap=False)


def _measure(config: EvaluateConfig) -> list[dict[str, Any]]:
    if config.measures is None:
        return []
    shown = ("preparing measures", "judges")
    _run_all(_prepare_measures, config, ["judge"], shown, lambda _, inputs: f"{len(inputs['shown'])} pictures chosen")
    names = measured_contenders(config)
    shown = ("measuring", "contenders")
    return _run_all(_measure_contender, config, names, shown, lambda name, _: f"{name}: measured")


def _run_all(
    work: Callable[[EvaluateConfig, J], R],
    config: EvaluateConfig,
    jobs: Sequence[J],
    shown: tuple[str, str],
    describe: Callable[[J, R], str],
) -> list[R]:
    """Do the jobs as Ray tasks of one CPU, `workers` at a time.

    How far they are is shown as `shown` (what is done, what is counted); a line tells of each and of the time that is
    left.
    """
    results: dict[int, R] = {}
    started = time.monotonic()
    with progress(*shown) as show:

        def waiting(running: int) -> None:
            show(len(results), len(jobs), f"{running} at work")

        done = run_tasks(work, jobs, config.workers, config, num_gpus=config.num_gpus, waiting=waiting)
        for number, result in done:
            results[number] = result
            text, undone = describe(jobs[number], result), len(jobs) - len(results)
            left = duration((time.monotonic() - started) / len(results) * undone)
            of_all = f"{len(results)} of {len(jobs)}" + (f", about {left} left" if undone else "")
            logger.info("%s (%s)", text, of_all)
            show(len(results), len(jobs))
    return [results[number] for number in range(len(jobs))]


def _seconds_of_step(config: EvaluateConfig, cell: Cell) -> float:
    limit_threads(1)
    return seconds_of_step(config, cell)


def _run_cell(config: EvaluateConfig, cell: Cell) -> dict[str, Any]:
    limit_threads(1)
    return run_cell(config, cell)


def _train_baseline(config: EvaluateConfig, job: BaselineJob) -> None:
    limit_threads(1)
    trained_baseline(config, job.baseline, job.seed, device_of(config))


def _prepare_measures(config: EvaluateConfig, job: str) -> dict[str, Any]:
    limit_threads(1)
    return prepare_measures(config, config.measures or MeasuresConfig())


def _measure_contender(config: EvaluateConfig, name: str) -> dict[str, Any]:
    limit_threads(1)
    return measure_contender(config, config.measures or MeasuresConfig(), name)


def _describe_cell(cell: Cell, result: dict[str, Any]) -> str:
    few = f", {cell.real_labelled} real labelled, draw {cell.draw}" if cell.real_labelled else ""
    return f"{cell.contender}{few}, seed {cell.seed}: mIoU {100 * result['miou']:.1f}"


if __name__ == "__main__":
    from workflows import as_command

    as_command("evaluate")
