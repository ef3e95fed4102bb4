"""The Ray actor of the translation job: holds the weights, translates one shard and reads the next meanwhile.

The driver imports this module to name the actor's class; what loads torch is imported where a worker needs it.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import ray

from cluster.ledger import Amount
from cluster.metrics import TranslationMetrics
from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex
from dakpn.datasets.output_lock import JobClaim
from dakpn.datasets.threads import ReadAhead
from dakpn.errors import WeightsError
from dakpn.translation.shard_rows import InputRow, input_rows
from dakpn.translation.shard_task import ShardResult, ShardTask

if TYPE_CHECKING:
    from dakpn.translation.row_pipeline import TranslatedRow
    from dakpn.translation.shard_job import ShardWork
    from dakpn.translation.translator import Translator

MOST_ATTEMPTS = 5
"""Workers that one shard may cost before it counts as failed."""
_TELL_EVERY_S = 2.0
_FIRST_REASONS = 3
_Item = TypeVar("_Item")


def load_translator(config: TranslateConfig, index: DatasetIndex, weights_digest: str) -> "Translator":
    """The job's translator; this process computes in one thread from now on, for float sums depend on their number.

    Raises:
        WeightsError: The weights are not those that the job was planned with.
    """
    from dakpn.segmentation.examples import limit_threads
    from dakpn.translation.translator import Translator

    limit_threads(1)
    translator = Translator.of_job(config, index)
    if (found := translator.weights_digest) != weights_digest:
        raise WeightsError(
            f"the weights {config.weights} are other ones ({found}) than when the job started ({weights_digest}); "
            "run it again"
        )
    return translator


class ShardTranslator:
    """Translates a shard a call. Two calls run at a time: one computes, the other has its first rows read ahead."""

    def __init__(
        self, config: dict[str, Any], index: dict[str, Any], weights_digest: str, claim: JobClaim, ledger: Any
    ) -> None:
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
