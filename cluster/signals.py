"""SIGTERM and preempted nodes: training writes a checkpoint before its machine is gone."""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import ray
import ray.train
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dakpn.errors import TerminatedError

logger = logging.getLogger(__name__)

_PATIENCE_S = 25.0
"""What Kubernetes gives a process by default, less a little."""


class TrainNotice(Protocol):
    """What the train loop asks after every step; see `dakpn.training.loop.Notice`."""

    def given(self, step: int) -> bool:
        """Whether a checkpoint is wanted now."""
        ...

    def answer(self, step: int) -> None:
        """The checkpoint of this step is written."""
        ...


@contextmanager
def termination_notice(workers: int, look_every: int) -> Iterator[TrainNotice]:
    """Run the block, a training, with SIGTERM as a request to write a checkpoint and end.

    A second SIGTERM ends the process at once. Outside of the main thread signals are left alone.

    Args:
        workers: 0 trains in this process; else the notice is passed to Ray's workers.
        look_every: steps between two looks for a preempted node, each a barrier for all workers.

    Raises:
        TerminatedError: in the main thread, when the checkpoint is written or did not come in time.
    """
    notice = _ProcessNotice() if workers == 0 else _WorkersNotice(look_every)
    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    before = signal.getsignal(signal.SIGTERM)
    answers: list[TerminatedError] = []

    def ask(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        logger.info("got SIGTERM: writing a checkpoint")
        try:
            notice.ask()
        except TerminatedError as answer:
            # While Ray waits, of all that a handler raises it lets an interruption through and drops the rest.
            answers.append(answer)
            raise KeyboardInterrupt from answer

    signal.signal(signal.SIGTERM, ask)
    try:
        yield notice
    except KeyboardInterrupt:
        if answers:
            raise answers[0] from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


class _ProcessNotice:
    """For a training in the process that gets the signal."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        self._asked = True

    def given(self, step: int) -> bool:
        return self._asked

    def answer(self, step: int) -> None:
        raise TerminatedError(_ended_at(step))


class _WorkersNotice:
    """For a training in Ray's workers: an actor on the driver's node carries the request and the answer.

    The first worker alone waits for it, since it alone writes checkpoints; all look for preempted nodes together.
    """

    def __init__(self, look_every: int) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._carrier: Any = _Carrier.options(scheduling_strategy=here).remote()
        self._look_every = look_every
        self._request: ray.ObjectRef | None = None
        self._answered = self._preempted = False

    def ask(self) -> None:
        try:
            step: Any = ray.get(self._carrier.ask.remote(), timeout=_PATIENCE_S)
        except GetTimeoutError:
            raise _ended_without(f"within {_PATIENCE_S:g} s") from None
        except RayError:
            raise _ended_without("since the workers were ended as well") from None
        raise TerminatedError(_ended_at(step))

    def given(self, step: int) -> bool:
        return self._node_goes(step) or self._asked()

    def answer(self, step: int) -> None:
        logger.info("checkpoint of step %d written upon notice", step)
        if self._request is not None and not self._answered and self._is_ready():
            self._answered = True
            self._carrier.answer.remote(step)

    def _asked(self) -> bool:
        if self._answered or ray.train.get_context().get_world_rank() != 0:
            return False
        if self._request is None:
            self._request = self._carrier.asked.remote()
        return self._is_ready()

    def _is_ready(self) -> bool:
        return bool(ray.wait([self._request], timeout=0)[0])

    def _node_goes(self, step: int) -> bool:
        """Whether a node with a worker will be taken away, the first time that it is known."""
        if self._preempted or step % self._look_every:
            return False
        self._preempted = ray.train.get_preemption_info() is not None
        return self._preempted


@ray.remote(num_cpus=0)
class _Carrier:
    def __init__(self) -> None:
        self._request, self._reply = asyncio.Event(), asyncio.Event()
        self._step = 0

    async def ask(self) -> int:
        self._request.set()
        await self._reply.wait()
        return self._step

    async def asked(self) -> None:
        await self._request.wait()

    async def answer(self, step: int) -> None:
        self._step = step
        self._reply.set()


def _ended_at(step: int) -> str:
    return f"ended by SIGTERM; the checkpoint of step {step} is written: the same command goes on from there"


def _ended_without(reason: str) -> TerminatedError:
    return TerminatedError(
        f"ended by SIGTERM; no checkpoint was written {reason}, so the last one before counts: the same command goes "
        "on from there"
    )
