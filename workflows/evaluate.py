"""Evaluate: train the same segmenter per contender and seed as Ray tasks, score each on real images."""

import logging
from typing import Any

import ray

from cluster.session import ray_session
from dakpn.config import EvaluateConfig
from dakpn.config_file import to_yaml
from dakpn.data import storage
from dakpn.evaluation.cells import Cell, describe_protocol, plan_cells, run_cell
from dakpn.segmentation.examples import limit_threads

logger = logging.getLogger(__name__)


def main(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Run every cell that has no result yet, write `results.json` and return all results in the cells' order.

    Raises:
        UsageError: a dataset is missing, unlabelled or has other classes than the test set.
    """
    cells = plan_cells(config)
    storage.preflight(config.output, write=True)
    with ray_session(cpus=config.workers):
        results = _run_cells(config, cells)
    ordered = [results[cell] for cell in cells]
    storage.write_json(
        storage.join(config.output, "results.json"),
        {"cells": ordered, "protocol": describe_protocol(config), "config": to_yaml(config)},
    )
    return ordered


def _run_cells(config: EvaluateConfig, cells: list[Cell]) -> dict[Cell, dict[str, Any]]:
    """Run the cells, `workers` at a time."""
    run_one = ray.remote(_run_cell).options(num_cpus=1)
    waiting, running = list(cells), {}
    results: dict[Cell, dict[str, Any]] = {}
    while waiting or running:
        while waiting and len(running) < config.workers:
            cell = waiting.pop(0)
            running[run_one.remote(config, cell)] = cell
        (ready,), _ = ray.wait(list(running), num_returns=1)
        cell = running.pop(ready)
        results[cell] = ray.get(ready)
        shown = 100 * results[cell]["miou"]
        logger.info("%s, seed %d: mIoU %.1f (%d of %d)", cell.contender, cell.seed, shown, len(results), len(cells))
    return results


def _run_cell(config: EvaluateConfig, cell: Cell) -> dict[str, Any]:
    limit_threads(1)
    return run_cell(config, cell)


if __name__ == "__main__":
    from workflows.cli import run

    run("evaluate")
