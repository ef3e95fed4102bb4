"""A bounded pool of Ray tasks: so many jobs are with Ray at a time, and each one's result comes as it is ready.

Independent jobs alone: packing, verification and evaluation. The translation's shards go to actors, which hold weights
and which Ray Data replaces and scales; trials of a sweep wait for one another in `cluster.trial_slots`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayError

Job = TypeVar("Job")
Result = TypeVar("Result")
_LOOK_EVERY_S = 5.0


def run_tasks(
    work: Callable[..., Result],
    jobs: Sequence[Job],
    at_once: int,
    *shared: object,
    num_cpus: float = 1,
    num_gpus: float = 0,
    waiting: Callable[[int], None] = lambda running: None,
) -> Iterator[tuple[int, Result]]:
    """Yield (number of the job, what `work(*shared, job)` returns) as the jobs end, in whatever order.

    No task is begun that is not asked for: whoever stops iterating, or raises, leaves the others undone, and those
    that run are cancelled.

    Args:
        work: A function of a module, whose process Ray names after it.
        jobs: What it takes last, one a task.
        at_once: Tasks that Ray is given at a time; it lets those wait that the cluster has no room for.
        shared: What it takes before that, stored once for all tasks.
        num_cpus: That a task holds.
        num_gpus: As `num_cpus`; below 1, tasks share one.
        waiting: Called every few seconds, and when a job has ended, with the number of tasks that Ray has.

    Raises:
        RayTaskError: What `work` raised, which is also an error of that kind.
    """
    task = cast(Any, ray.remote(work)).options(num_cpus=num_cpus, num_gpus=num_gpus)
    stored = [ray.put(value) for value in shared]
    left = iter(enumerate(jobs))
    running: dict[Any, int] = {}

    def begin(count: int) -> None:
        for number, job in islice(left, count):
            running[task.remote(*stored, job)] = number

    try:
        begin(at_once)
        while running:
            waiting(len(running))
            ready, _ = ray.wait(list(running), timeout=_LOOK_EVERY_S)
            for ended in ready:
                number = running.pop(ended)
                begin(1)
                yield number, cast("Result", ray.get(ended))
    finally:
        _cancel(running)


def _cancel(tasks: dict[Any, int]) -> None:
    """Cancel what nobody waits for any more; nothing to do if Ray has gone before."""
    if ray.is_initialized():
        for task in tasks:
            with suppress(RayError):
                ray.cancel(task)
