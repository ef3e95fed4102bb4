"""The translation job: plan, run, finish. The same on whatever does the shards: this process, or Ray's workers.

Nothing here loads torch, so that a job's driver does without; what translates in this process does when it begins.
"""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex, ShardMarker
from dakpn.errors import DataError, StorageError, UsageError
from dakpn.progress import progress
from dakpn.translation.job_finish import finish_translation
from dakpn.translation.job_plan import TranslationPlan, claim_output, delete_orphans, plan_translation
from dakpn.translation.job_report import JobReport, ShardFailure, write_report
from dakpn.translation.shard_rows import input_rows
from dakpn.translation.shard_task import ShardResult
from dakpn.wording import counted

if TYPE_CHECKING:
    from dakpn.translation.row_pipeline import TranslatedRow

logger = logging.getLogger(__name__)
_FAILURES_IN_A_ROW = 20
"""After which nothing but failures is to be expected: a full disk, a storage that is gone."""
_REASONS = 3


@dataclass(frozen=True)
class Done:
    """What a run has done so far, shards at work included.

    Attributes:
        images: Translated.
        bytes: Of the input's encoded images and labels, those of quarantined rows included.
        quarantined: Rows.
        restarts: How often a shard was begun again because its worker was lost.
    """

    images: int = 0
    bytes: int = 0
    quarantined: int = 0
    restarts: int = 0


class Executor(Protocol):
    """Does the shards of a job."""

    def results(self, plan: TranslationPlan, tell: Callable[[Done], None]) -> Generator[ShardResult]:
        """Yield a result for each shard of `plan.todo` as it ends, in whatever order.

        Args:
            plan: Of the job.
            tell: Called now and then with what is done, from any thread.

        Closed early, it leaves nothing at work.
        """
        ...


class InProcess:
    """Does the shards one after the other, in this process; the codecs have threads of their own."""

    def results(self, plan: TranslationPlan, tell: Callable[[Done], None]) -> Generator[ShardResult]:
        """See `Executor`."""
        from dakpn.translation.shard_job import ShardWork, load_translator, try_shard  # loads torch

        translator, ended = load_translator(plan.config, plan.index, plan.weights.digest), Done()
        for task in plan.todo:
            count = _Count(ended, tell)
            work = ShardWork(translator, plan.config, plan.claim, count)
            result = try_shard(work, task, input_rows(work.source(task)), count.reasons)
            ended = ended if result["marker"] is None else count.done  # rows of a shard that failed are not done
            tell(ended)
            yield result


class _Count:
    """Counts the rows of a shard on top of what was done before, and keeps the first reasons for bad ones."""

    def __init__(self, done: Done, tell: Callable[[Done], None]) -> None:
        self.done, self.reasons = done, list[str]()
        self._tell = tell

    def __call__(self, row: "TranslatedRow") -> None:
        done, bad = self.done, row.quarantined is not None
        self.done = replace(
            done, images=done.images + (not bad), bytes=done.bytes + row.bytes_in, quarantined=done.quarantined + bad
        )
        if row.quarantined is not None and len(self.reasons) < _REASONS:
            self.reasons.append(row.quarantined.reason)
        self._tell(self.done)


def translate_dataset(
    config: TranslateConfig,
    executor: Executor | None = None,
    only: Sequence[str] | None = None,
    retry_failed: bool = False,
) -> DatasetIndex | None:
    """Translate what is not translated yet.

    Args:
        config: Of the job.
        executor: Does the shards; `InProcess` if None.
        only: Names of the shards to be made; None takes all.
        retry_failed: Make those that failed in the last run, and those with quarantined rows, again.

    Returns:
        The index of the output; None if shards are left that were not asked for.

    Raises:
        UsageError: The input is not a finished dataset, or the output holds something else.
        WeightsError: The weights cannot be used.
        DataError: Shards failed, or too many rows are bad; the others are done, and a rerun goes on from there.
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
            run.translate(executor or InProcess())
    finally:
        _conclude(plan, run.report(time.monotonic() - started))
    run.raise_failures()
    return None if plan.left else finish_translation(plan, run.done)


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
        self._so_far = Done()
        self._before = sum(marker.rows + marker.quarantined for marker in plan.finished.values())

    def translate(self, executor: Executor) -> None:
        """Translate all shards of the plan, as far as the budgets for bad rows and failures allow."""
        start = time.monotonic()
        with progress("translating", "images") as show:

            def tell(done: Done) -> None:
                self._so_far = done
                rows = self._before + done.images + done.quarantined
                show(rows, self._plan.index.rows, self._note(time.monotonic() - start))

            # Closed at once when the loop is left early, so that no worker goes on.
            with closing(executor.results(self._plan, tell)) as results:
                for result in results:
                    self._take(result)

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
            restarts=self._so_far.restarts,
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
        self._reasons += list(result["reasons"])[: _REASONS - len(self._reasons)]
        if marker.quarantined:
            rows = counted(marker.quarantined, "row")
            logger.warning("%s: %s quarantined, first: %s", marker.name, rows, result["reasons"][0])
            self.check_budget()

    def _note(self, seconds: float) -> str:
        done, seconds = self._so_far, max(seconds, 1e-3)
        shards = f"{len(self.done)} of {counted(len(self._plan.index.shards), 'shard')}"
        parts = [shards, f"{done.images / seconds:.1f} images/s", f"{done.bytes / seconds / 1e6:.1f} MB/s"]
        if done.quarantined:
            parts.append(f"{done.quarantined} quarantined")
        if self._failures:
            parts.append(f"{counted(len(self._failures), 'shard')} failed")
        if done.restarts:
            parts.append(f"{counted(done.restarts, 'shard')} begun again")
        return ", ".join(parts)
