"""Translate a dataset as a Ray Data job or in this process: a shard in, a shard out, its completion marker last."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, cast

import ray
import ray.data
import typer
from ray.data import ActorPoolStrategy
from ray.exceptions import RayError

from cluster.core_stderr import without_restart_warnings
from cluster.ledger import Amount, LedgerState, start_ledger
from cluster.resources import require_node
from cluster.session import ray_session
from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex, ShardMarker
from dakpn.errors import DataError, StorageError, UsageError
from dakpn.progress import ShowProgress, progress
from dakpn.translation.job_estimate import Estimate, Sample, estimate, worker_bytes
from dakpn.translation.job_finish import finish_translation
from dakpn.translation.job_plan import TranslationPlan, claim_output, delete_orphans, plan_translation
from dakpn.translation.job_report import JobReport, ShardFailure, write_report
from dakpn.translation.shard_rows import input_rows
from dakpn.translation.shard_task import ShardResult
from dakpn.wording import counted
from workflows.translation_worker import ShardTranslator, load_translator

if TYPE_CHECKING:
    from dakpn.translation.row_pipeline import TranslatedRow

logger = logging.getLogger(__name__)
_SHARDS_AHEAD = 2
"""Calls that a worker has at a time: it computes one, and reads ahead for the other."""
_FAILURES_IN_A_ROW = 20
"""After which nothing but failures is to be expected: a full disk, a storage that is gone."""
_LOOK_EVERY_S = 1.0


def main(config: TranslateConfig, only: Sequence[str] | None = None, retry_failed: bool = False) -> DatasetIndex | None:
    """Translate what is not translated yet.

    Args:
        config: of the job.
        only: names of the shards to be made; None takes all.
        retry_failed: make those that failed in the last run, and those with quarantined rows, again.

    Returns:
        The index of the output; None if shards are left that were not asked for.

    Raises:
        UsageError: the input is not a finished dataset, or the output holds something else.
        WeightsError: the weights cannot be used.
        DataError: shards failed, or too many rows are bad; the others are done, and a rerun goes on from there.
    """
    started = time.monotonic()
    plan = plan_translation(config, only, retry_failed)
    claim_output(plan)
    logger.info(
        "%d of %s to translate, %d done before",
        len(plan.todo),
        counted(len(plan.index.shards), "shard"),
        len(plan.finished),
    )
    run = _Run(plan)
    try:
        run.check_budget()
        if plan.todo:
            run.translate()
    finally:
        _conclude(plan, run.report(time.monotonic() - started))
    run.raise_failures()
    return None if plan.left else finish_translation(plan, run.done)


def dry_run(config: TranslateConfig, only: Sequence[str] | None = None, retry_failed: bool = False) -> Estimate:
    """Tell how much is left, and estimate time and cost from a measured sample. Nothing is written.

    The sample is measured by a process of its own, so that this one needs no torch and tells at once what is wrong.

    Raises:
        UsageError: the input is not a finished dataset.
        WeightsError: the weights cannot be used.
        DataError: a shard of the sample is damaged.
    """
    plan = plan_translation(config, only, retry_failed)
    if not plan.todo:
        return estimate(plan, Sample(0, 0, 0.0))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        sample, warnings = pool.submit(_measure_apart, plan).result()
    for warning in warnings:
        logger.warning("%s", warning)
    return estimate(plan, sample)


def print_estimate(left: Estimate, config: TranslateConfig) -> None:
    """Print what a translation would take to stdout."""
    typer.echo(
        f"{counted(left.images, 'image')} in {counted(left.shards, 'shard')} to translate, {left.bytes / 1e9:.3g} GB"
    )
    if not left.sampled:
        return
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


def _conclude(plan: TranslationPlan, report: JobReport) -> None:
    """Say what happened, whatever happened."""
    logger.info("%s", report)
    try:
        write_report(plan.config.output, report)
        delete_orphans(plan.config.output, {shard.name for shard in plan.index.shards})
    except StorageError as error:  # a full disk, perhaps: what failed before says more
        logger.warning("%s", error)


class _Run:
    """The driver's side of one run."""

    def __init__(self, plan: TranslationPlan) -> None:
        self._plan = plan
        self.done: dict[str, ShardMarker] = dict(plan.finished)
        self._failures: list[ShardFailure] = []
        self._reasons: list[str] = []
        self._in_a_row = 0
        self._ledger_state = LedgerState()
        self._before = sum(marker.rows + marker.quarantined for marker in plan.finished.values())

    def translate(self) -> None:
        """Translate all shards of the plan, as far as the budgets for bad rows and failures allow."""
        if self._plan.config.most_workers == 0:
            self._translate_here()
        else:
            self._translate_on_ray()

    def _translate_here(self) -> None:
        from dakpn.translation.shard_job import (  # loads torch, which a driver of workers never does
            ShardWork,
            try_shard,
        )

        plan, start = self._plan, time.monotonic()
        translator = load_translator(plan.config, plan.index, plan.weights.digest)
        with progress("translating", "images") as show:
            for task in plan.todo:
                reasons: list[str] = []
                work = ShardWork(translator, plan.config, plan.claim, partial(self._count, show, start, reasons))
                self._take(try_shard(work, task, input_rows(work.source(task)), reasons))

    def _count(self, show: ShowProgress, start: float, reasons: list[str], row: "TranslatedRow") -> None:
        bad = row.quarantined is not None
        self._ledger_state.done.add(Amount(int(not bad), row.bytes_in, int(bad)))
        if row.quarantined is not None:
            reasons.append(row.quarantined.reason)
        self._show(show, start)

    def _translate_on_ray(self) -> None:
        config, todo = self._plan.config, self._plan.todo
        cpus = max(1, config.decode_workers)
        fewest = min(config.fewest_workers, len(todo))
        with ray_session(cpus=fewest * cpus):
            memory = worker_bytes(config, self._plan.index)
            require_node(CPU=cpus, GPU=config.num_gpus, memory=memory)
            ledger = start_ledger()
            pool = ActorPoolStrategy(
                min_size=fewest,
                max_size=min(config.most_workers, len(todo)),
                max_tasks_in_flight_per_actor=_SHARDS_AHEAD,
                max_concurrent_calls_per_actor=_SHARDS_AHEAD,
                enable_true_multi_threading=True,
            )
            results = ray.data.from_items([asdict(task) for task in todo], override_num_blocks=len(todo)).map(
                ShardTranslator,  # pyright: ignore[reportArgumentType] - Ray makes an actor of the class
                fn_constructor_args=(
                    config.model_dump(mode="json"),
                    self._plan.index.model_copy(update={"shards": []}).model_dump(),
                    self._plan.weights.digest,
                    self._plan.claim,
                    ledger,
                ),
                compute=pool,
                num_cpus=cpus,
                num_gpus=config.num_gpus or None,
                memory=memory,
            )
            # Closed at once when the loop is left early, so that no worker goes on.
            with (
                without_restart_warnings(),
                self._watched(ledger),
                closing(cast(Any, iter(results.iter_rows()))) as rows,
            ):
                for row in rows:
                    self._take(row)
            ray.kill(ledger)

    def check_budget(self) -> None:
        """Raise `DataError` if more rows are quarantined than the config allows."""
        bad = sum(marker.quarantined for marker in self.done.values())
        rows = self._plan.index.rows
        allowed = self._plan.config.max_bad_fraction
        if bad > allowed * rows:
            reasons = f", first: {'; '.join(self._reasons)}" if self._reasons else ""
            raise DataError(
                f"{bad} of {counted(rows, 'row')} cannot be translated, more than max_bad_fraction={allowed:g} allows"
                f"{reasons}; see {self._plan.config.output}/_dakpn/quarantine, mend the input, or allow more"
            )

    def raise_failures(self) -> None:
        """Raise `DataError` if shards failed."""
        if self._failures:
            raise DataError(
                f"{len(self._failures)} of {counted(len(self._plan.todo), 'shard')} failed, first: "
                f"{self._failures[0].reason}; mend what is wrong and run the same command "
                "again: finished shards are kept"
            )

    def report(self, seconds: float) -> JobReport:
        """What happened."""
        made = [self.done[task.name] for task in self._plan.todo if task.name in self.done]
        return JobReport(
            shards=len(made),
            shards_before=len(self._plan.finished),
            shards_left=len(self._plan.index.shards) - len(self.done),
            images=sum(marker.rows for marker in made),
            quarantined={name: m.quarantined for name, m in sorted(self.done.items()) if m.quarantined},
            restarts=self._ledger_state.restarts,
            seconds=round(seconds, 1),
            failures=self._failures,
            reasons=self._reasons,
        )

    def _take(self, result: ShardResult) -> None:
        if result["error"] is not None:
            logger.error("%s", result["error"])
            if result["fatal"]:
                raise UsageError(result["error"])
            self._failures.append(ShardFailure(shard=result["name"], reason=result["error"]))
            self._in_a_row += 1
            if self._in_a_row >= _FAILURES_IN_A_ROW:
                self.raise_failures()
            return
        self._in_a_row = 0
        marker = ShardMarker.model_validate_json(result["marker"] or "")
        self.done[marker.name] = marker
        self._reasons += list(result["reasons"])[: 3 - len(self._reasons)]
        if marker.quarantined:
            rows = counted(marker.quarantined, "row")
            logger.warning("%s: %s quarantined, first: %s", marker.name, rows, result["reasons"][0])
            self.check_budget()

    @contextmanager
    def _watched(self, ledger: Any) -> Iterator[None]:
        """Show progress while the block runs."""
        stop = threading.Event()
        with progress("translating", "images") as show:
            watch = threading.Thread(target=self._watch, args=(ledger, show, stop), daemon=True)
            watch.start()
            try:
                yield
            finally:
                stop.set()
                watch.join()

    def _watch(self, ledger: Any, show: ShowProgress, stop: threading.Event) -> None:
        start = time.monotonic()
        while True:
            last = stop.wait(_LOOK_EVERY_S)
            with suppress(RayError):
                self._ledger_state = cast(LedgerState, ray.get(ledger.state.remote(), timeout=10))
            self._show(show, start)
            if last:
                return

    def _show(self, show: ShowProgress, start: float) -> None:
        done = self._ledger_state.done
        show(self._before + done.images + done.quarantined, self._plan.index.rows, self._note(start))

    def _note(self, start: float) -> str:
        state = self._ledger_state
        seconds = max(time.monotonic() - start, 1e-3)
        images, size = state.done.images / seconds, state.done.bytes / seconds / 1e6
        shards = f"{len(self.done)} of {counted(len(self._plan.index.shards), 'shard')}"
        parts = [shards, f"{images:.1f} images/s", f"{size:.1f} MB/s"]
        if state.done.quarantined:
            parts.append(f"{state.done.quarantined} quarantined")
        if self._failures:
            parts.append(f"{counted(len(self._failures), 'shard')} failed")
        if state.restarts:
            parts.append(f"{state.restarts} begun again")
        return ", ".join(parts)


if __name__ == "__main__":
    from workflows import as_command

    as_command("translate")
