"""The ledger of a job: which shards are at work, how far, and how often each was begun. One small actor by the driver.

It outlives the workers, so it knows what a lost one was doing: a shard that ends every worker is told from bad luck.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@dataclass
class Amount:
    """Rows and encoded bytes of the input."""

    images: int = 0
    bytes: int = 0
    quarantined: int = 0

    def add(self, more: "Amount") -> None:
        """Add to this amount."""
        self.images += more.images
        self.bytes += more.bytes
        self.quarantined += more.quarantined


@dataclass
class LedgerState:
    """State of a job, as the driver shows it.

    Attributes:
        done: Rows and bytes of all shards that ended and of those at work.
        at_work: Shards at work, and the process that does each.
        restarts: How often a shard was begun again because its worker was lost.
    """

    done: Amount = field(default_factory=Amount)
    at_work: dict[str, int] = field(default_factory=dict)
    restarts: int = 0


class JobLedger:
    """Ray actor that counts what is done of a job."""

    def __init__(self) -> None:
        self._ended = Amount()
        self._parts: dict[str, Amount] = {}
        self._processes: dict[str, int] = {}
        self._attempts: Counter[str] = Counter()

    def begin(self, shard: str, process: int) -> int:
        """Note that a worker begins a shard; return how often it was begun, this time included."""
        self._parts[shard] = Amount()
        self._processes[shard] = process
        self._attempts[shard] += 1
        return self._attempts[shard]

    def progress(self, shard: str, part: Amount) -> None:
        """Note how far a shard is since it was begun."""
        if shard in self._parts:
            self._parts[shard] = part

    def end(self, shard: str, part: Amount) -> None:
        """Note that a shard ended, well or not."""
        if self._parts.pop(shard, None) is not None:
            self._processes.pop(shard, None)
            self._ended.add(part)

    def state(self) -> LedgerState:
        """Return the state of the job."""
        total = Amount()
        for part in (self._ended, *self._parts.values()):
            total.add(part)
        return LedgerState(total, dict(self._processes), self._attempts.total() - len(self._attempts))


def start_ledger(name: str | None = None) -> Any:
    """Start the actor on the driver's own node, with which the job stands and falls anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = cast(Any, ray.remote(JobLedger))
    return actor.options(num_cpus=0, name=name, scheduling_strategy=here, max_restarts=-1).remote()
