"""The translation job on Ray: one actor a worker, which translates one shard and reads the next meanwhile.

What loads torch is imported where a worker needs it: a job's driver, which imports this module too, does without.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar, cast

import ray
import ray.data
from ray.data import ActorPoolStrategy
from ray.exceptions import RayError

from cluster.core_stderr import without_restart_warnings
from cluster.ledger import Amount, LedgerState, start_ledger
from cluster.metrics import TranslationMetrics
from cluster.resources import require_node
from cluster.session import ray_session
from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex
from dakpn.datasets.output_lock import JobClaim
from dakpn.datasets.threads import ReadAhead
from dakpn.translation.job import Done
from dakpn.translation.job_estimate import worker_bytes
from dakpn.translation.job_plan import TranslationPlan
from dakpn.translation.shard_rows import InputRow, input_rows
from dakpn.translation.shard_task import ShardResult, ShardTask

if TYPE_CHECKING:
    from dakpn.translation.row_pipeline import TranslatedRow
    from dakpn.translation.shard_job import ShardWork

MOST_ATTEMPTS = 5
"""Workers that one shard may cost before it counts as failed."""
_SHARDS_AHEAD = 2
"""Calls that a worker has at a time: it computes one, and reads ahead for the other."""
_LOOK_EVERY_S = 1.0
_TELL_EVERY_S = 2.0
_FIRST_REASONS = 3
_Item = TypeVar("_Item")


class OnRay:
    """Does the shards of a translation in Ray Data's actors, which are replaced when they are lost."""

    def results(self, plan: TranslationPlan, tell: Callable[[Done], None]) -> Generator[ShardResult]:
        """See `dakpn.translation.job.Executor`."""
        config, todo = plan.config, plan.todo
        cpus = max(1, config.decode_workers)
        fewest = min(config.fewest_workers, len(todo))
        with ray_session(cpus=fewest * cpus):
            memory = worker_bytes(config, plan.index)
            require_node(CPU=cpus, GPU=config.num_gpus, memory=memory)
            ledger = start_ledger()
            pool = ActorPoolStrategy(
                min_size=fewest,
                max_size=min(config.most_workers, len(todo)),
                max_tasks_in_flight_per_actor=_SHARDS_AHEAD,
                max_concurrent_calls_per_actor=_SHARDS_AHEAD,
                enable_true_multi_threading=True,
            )
            tasks = _without_progress_bars([asdict(task) for task in todo])
            results = tasks.map(
                ShardTranslator,  # pyright: ignore[reportArgumentType] - Ray makes an actor of the class
                fn_constructor_args=(
                    config.model_dump(mode="json"),
                    plan.index.model_copy(update={"shards": []}).model_dump(),
                    plan.weights.digest,
                    plan.claim,
                    ledger,
                ),
                compute=pool,
                num_cpus=cpus,
                num_gpus=config.num_gpus or None,
                memory=memory,
            )
            with (
                without_restart_warnings(),
                _watched(ledger, tell),
                closing(cast(Any, iter(results.iter_rows()))) as rows,
            ):
                yield from rows
            ray.kill(ledger)


def _without_progress_bars(rows: list[dict[str, Any]]) -> ray.data.Dataset:
    """A dataset with a block for each row, under settings of its own: a dataset keeps what it was made under."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    with ray.data.DataContext.current(context):
        return ray.data.from_items(rows, override_num_blocks=len(rows))


@contextmanager
def _watched(ledger: Any, tell: Callable[[Done], None]) -> Iterator[None]:
    """Tell what the ledger says while the block runs, and once when it has ended."""
    stop = threading.Event()

    def watch() -> None:
        while True:
            last = stop.wait(_LOOK_EVERY_S)
            with suppress(RayError):
                state = cast(LedgerState, ray.get(ledger.state.remote(), timeout=10))
                tell(Done(**asdict(state.done), restarts=state.restarts))
            if last:
                return

    thread = threading.Thread(target=watch, name="translation ledger", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class ShardTranslator:
    """Translates a shard a call. Two calls run at a time: one computes, the other has its first rows read ahead."""

    def __init__(
        self, config: dict[str, Any], index: dict[str, Any], weights_digest: str, claim: JobClaim, ledger: Any
    ) -> None:
        from dakpn.translation.shard_job import load_translator

        self._config = TranslateConfig.model_validate(config)
        self._claim, self._ledger = claim, ledger
        self._metrics = TranslationMetrics()
        self._computing = threading.Lock()
        self._translator = load_translator(self._config, DatasetIndex.model_validate(index), weights_digest)

    def __call__(self, row: dict[str, Any]) -> ShardResult:
        """Translate the shard of the `ShardTask` that `row` has the fields of."""
        from dakpn.translation.shard_job import ShardWork

        task = ShardTask(**row)
        progress = _Progress(task.name, self._ledger, self._metrics)
        work = ShardWork(self._translator, self._config, self._claim, progress.add, self._metrics.spent)
        rows = self._timed(input_rows(work.source(task)))
        with ReadAhead(rows, lambda row: row.bytes, self._config.prefetch_bytes) as ahead, self._computing:
            return self._translate(work, task, ahead, progress)

    def _translate(
        self, work: "ShardWork", task: ShardTask, rows: Iterable[InputRow], progress: "_Progress"
    ) -> ShardResult:
        from dakpn.translation.shard_job import try_shard

        attempt = cast(int, ray.get(self._ledger.begin.remote(task.name, os.getpid())))
        counted = Amount()
        try:
            if attempt > MOST_ATTEMPTS:
                error = (
                    f"{work.source(task)}: its worker was lost {MOST_ATTEMPTS} times while it was translated, of too "
                    "little memory, perhaps: look at the nodes' logs, use larger nodes or smaller shards"
                )
                result = ShardResult(name=task.name, marker=None, error=error, fatal=False, reasons=[])
            else:
                result = try_shard(work, task, rows, progress.reasons)
            if result["marker"] is not None:
                counted = progress.amount
        finally:
            ray.get(self._ledger.end.remote(task.name, counted))
        self._metrics.count(shards=result["marker"] is not None, failures=result["error"] is not None)
        return result

    def _timed(self, items: Iterator[_Item]) -> Iterator[_Item]:
        while True:
            start = time.perf_counter()
            item = next(items, None)
            self._metrics.spent("read", time.perf_counter() - start)
            if item is None:
                return
            yield item


class _Progress:
    """How far a shard is, told to the ledger now and then."""

    def __init__(self, shard: str, ledger: Any, metrics: TranslationMetrics) -> None:
        self.amount = Amount()
        self.reasons: list[str] = []
        self._shard, self._ledger, self._metrics = shard, ledger, metrics
        self._told = time.monotonic()

    def add(self, row: "TranslatedRow") -> None:
        quarantined = row.quarantined is not None
        self.amount.add(Amount(int(not quarantined), row.bytes_in, int(quarantined)))
        made = 0 if row.sample is None else len(row.sample.image) + len(row.sample.label or b"")
        self._metrics.count(
            images=int(not quarantined), bytes_in=row.bytes_in, bytes_out=made, quarantined=int(quarantined)
        )
        if row.quarantined is not None and len(self.reasons) < _FIRST_REASONS:
            self.reasons.append(row.quarantined.reason)
        if time.monotonic() - self._told >= _TELL_EVERY_S:
            self._told = time.monotonic()
            self._ledger.progress.remote(self._shard, self.amount)
