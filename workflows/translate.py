"""Translate a dataset as a Ray Data job or in this process: a shard in, a shard out, its completion marker last."""

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import typer

from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex
from dakpn.translation.job import InProcess, translate_dataset
from dakpn.translation.job_estimate import Estimate, Sample, estimate
from dakpn.translation.job_plan import TranslationPlan, plan_translation
from dakpn.wording import counted

logger = logging.getLogger(__name__)


def main(config: TranslateConfig, only: Sequence[str] | None = None, retry_failed: bool = False) -> DatasetIndex | None:
    """Translate what is not translated yet, on Ray, or in this process with `workers=0`.

    Arguments, result and errors as for `dakpn.translation.job.translate_dataset`.
    """
    if config.most_workers == 0:
        return translate_dataset(config, InProcess(), only, retry_failed)
    from workflows.translation_on_ray import OnRay  # loads Ray, which takes seconds

    return translate_dataset(config, OnRay(), only, retry_failed)


def dry_run(config: TranslateConfig, only: Sequence[str] | None = None, retry_failed: bool = False) -> None:
    """Print how much is left at once, then an estimate of time and cost from a measured sample. Nothing is written.

    The sample is measured by a process of its own, so that this one needs no torch and tells at once what is wrong.

    Raises:
        UsageError: the input is not a finished dataset.
        WeightsError: the weights cannot be used.
        DataError: a shard of the sample is damaged.
    """
    plan = plan_translation(config, only, retry_failed)
    left = estimate(plan, Sample(0, 0, 0.0))
    images, shards = counted(left.images, "image"), counted(left.shards, "shard")
    typer.echo(f"{images} in {shards} to translate, {left.bytes / 1e9:.3g} GB")
    if not plan.todo:
        return
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        sample, warnings = pool.submit(_measure_apart, plan).result()
    for warning in warnings:
        logger.warning("%s", warning)
    _print_estimate(estimate(plan, sample), config)


def _print_estimate(left: Estimate, config: TranslateConfig) -> None:
    workers = max(1, min(config.most_workers, left.shards))
    rate = f"{left.images_per_second:.1f} images/s a worker, measured on {counted(left.sampled, 'image')} here"
    typer.echo(f"about {_duration(left.hours)} with {counted(workers, 'worker')} ({rate})")
    if config.price_per_worker_hour:
        typer.echo(f"about {left.cost:.2f} at {config.price_per_worker_hour:g} a worker and hour")
    if left.bad:
        typer.echo(f"{left.bad} of the {left.sampled} would go to the quarantine; `dakpn check` finds all such rows")


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else f"{3600 * hours:.0f} s"


def _measure_apart(plan: TranslationPlan) -> tuple[Sample, list[str]]:
    """The sample, and what was warned of meanwhile: this process has no terminal to say it on."""
    from dakpn.translation.job_sample import measure

    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger("dakpn").addHandler(handler)
    return measure(plan), warnings


if __name__ == "__main__":
    from workflows import as_command

    as_command("translate")
