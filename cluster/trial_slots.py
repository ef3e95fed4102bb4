"""How many trials of a sweep a cluster has room for. Ray Tune does not know what the workers inside a trial need."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dakpn.errors import UsageError


@dataclass(frozen=True)
class TrialNeeds:
    """What one trial holds at the same time.

    Attributes:
        workers: each is placed on one node.
        cpus, gpus: CPUs and GPUs of a worker.
        more_cpus: anywhere in the cluster, for the trial's own process and its data streams.
    """

    workers: int
    cpus: float
    gpus: float
    more_cpus: float

    @property
    def total_cpus(self) -> float:
        """CPUs of a whole trial."""
        return self.workers * self.cpus + self.more_cpus


class TrialQueue:
    """The actor's class: runs the work of trials as Ray tasks, so many at a time, the others wait their turn.

    The tasks are its own, so that a trial whose process is lost leaves its turn to the next.
    """

    def __init__(self, slots: int) -> None:
        self._turns = asyncio.Semaphore(slots)

    async def run(self, task: Any, *arguments: Any) -> Any:
        """Run a remote function when it is its turn, and return what it does."""
        async with self._turns:
            return await task.remote(*arguments)


def start_queue(slots: int, trials: int) -> Any:
    """Start the actor on the driver's own node, for so many trials."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = cast(Any, ray.remote(TrialQueue))
    return actor.options(num_cpus=0, max_concurrency=trials + 1, scheduling_strategy=here).remote(slots)


def trial_slots(needs: TrialNeeds, most: int | None) -> int:
    """How many trials run at a time: as many as fit on the nodes that there are, but no more than `most`.

    Raises:
        UsageError: not even one fits.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = sum(node.get("CPU", 0) for node in nodes)
    places = sum(_places(node, needs) for node in nodes)
    slots = int(min(places // needs.workers, (cpus + 1e-9) // needs.total_cpus))
    if slots == 0:
        gpus = sum(node.get("GPU", 0) for node in nodes)
        raise UsageError(
            f"a trial needs {needs.total_cpus:g} CPUs and {needs.workers * needs.gpus:g} GPUs at the same time "
            f"({needs.workers} workers of {needs.cpus:g} CPUs and {needs.gpus:g} GPUs, and {needs.more_cpus:g} CPUs "
            f"for its own process and data streams), and the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs on "
            f"{len(nodes)} nodes; lower `workers` or `cpus_per_worker`, or enlarge the cluster"
        )
    return slots if most is None else min(slots, most)


def _places(node: dict[str, float], needs: TrialNeeds) -> int:
    """Number of workers that a node has room for."""
    by_cpu = node.get("CPU", 0) // needs.cpus
    return int(min(by_cpu, node.get("GPU", 0) // needs.gpus) if needs.gpus else by_cpu)
