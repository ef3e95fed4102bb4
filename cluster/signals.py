"""SIGTERM and nodes that are taken away: training writes a checkpoint before its machine is gone.

The driver gets SIGTERM in its main thread, and a thread of it looks every second into Ray's control store for nodes
that are drained or whose pod is deleted (`cluster.drain`). Either way it asks for a checkpoint. The train loop asks its
`TrainNotice` after every step and while it waits for data: one look at an answer that is there or not, no barrier.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Protocol

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.control_store import ControlStore, TrainingNotes
from dakpn.errors import ClusterError, TerminatedError, UsageError

logger = logging.getLogger(__name__)

PATIENCE_VARIABLE = "DAKPN_CHECKPOINT_PATIENCE_S"
PATIENCE_S = 45.0
"""Seconds that a checkpoint upon notice may take. Pods have 60 in all: up to 5 pass before the word is here (a hook of
Kubernetes starts, a look every second), and the exit takes up to 5 more."""
_LOOK_EVERY_S = 1.0
_ANSWER_EVERY_S = 0.2
_ANSWER_S = 5.0


class TrainNotice(Protocol):
    """What the train loop asks; see `dakpn.training.loop.TerminationNotice`."""

    def checkpoint_wanted(self, step: int) -> bool:
        """Whether rank 0 is to write a checkpoint of this step now; False on all other ranks.

        Asked by every rank after every step, and again and again while it waits for data. It stays True until
        `checkpoint_written`.
        """
        ...

    def checkpoint_written(self, step: int) -> None:
        """The checkpoint of this step is written; called by rank 0."""
        ...


@contextmanager
def termination_notice(workers: int) -> Iterator[TrainNotice]:
    """Run the block, a training, so that SIGTERM and nodes that go are requests to write a checkpoint.

    SIGTERM to this process, or the loss of its own node, ends the training after the checkpoint; at the loss of another
    node it goes on: Ray Train starts its workers anew without it. A second SIGTERM ends the process at once. Outside of
    the main thread signals are left alone. Nodes that go are known where Ray is connected.

    Args:
        workers: 0 trains in this process; else the notice is passed to Ray's workers.

    Raises:
        TerminatedError: in the main thread, when the checkpoint is written or did not come in time.
        UsageError: the patience in the environment is no number of seconds.
    """
    training = _InWorkers(_patience()) if workers else _InProcess(_patience())
    with _sigterm(training) as terminate, _watched(training, terminate) if ray.is_initialized() else nullcontext():
        yield training.notice


class _Training(Protocol):
    """Where the loop runs, as the driver sees it."""

    patience_s: float

    @property
    def notice(self) -> TrainNotice:
        """The notice that the train loop asks."""
        ...

    def terminate(self) -> None:
        """Ask for a checkpoint, in a signal's handler; `TerminatedError` comes there or of `checkpoint_written`."""
        ...

    def nodes(self) -> set[str]:
        """Nodes that the loop runs on, but for the driver's own when nothing else is there."""
        ...

    def request(self) -> int:
        """Ask for a checkpoint after which training goes on; return the number of the request."""
        ...

    def saved(self, request: int) -> int | None:
        """Step of the checkpoint that was written for this request or a later one."""
        ...


def _patience() -> float:
    text = os.environ.get(PATIENCE_VARIABLE, str(PATIENCE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"got {PATIENCE_VARIABLE}={text}; expected seconds above 0, as in {PATIENCE_S:g}; or unset it")
    return seconds


@contextmanager
def _sigterm(training: _Training) -> Iterator[Callable[[], None] | None]:
    """Run the block with SIGTERM passed on to the training; gives what sends it from another thread."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    before = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    answers: list[TerminatedError] = []
    asked, from_here = threading.Event(), threading.Event()

    def interrupt(answer: TerminatedError) -> None:
        # While Ray waits, of all that a handler raises it lets an interruption through and drops the rest.
        answers.append(answer)
        raise KeyboardInterrupt from answer

    def ask(signum: int, frame: Any) -> None:
        if asked.is_set():
            if from_here.is_set():  # one of the two was our own word that the node goes
                from_here.clear()
                return
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        asked.set()
        logger.info("got SIGTERM: writing a checkpoint")
        try:
            training.terminate()
        except TerminatedError as answer:
            interrupt(answer)
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, training.patience_s)

    def too_late(signum: int, frame: Any) -> None:
        interrupt(_too_late(training.patience_s))

    def terminate() -> None:
        if not asked.is_set():
            from_here.set()
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, ask)
    try:
        yield terminate
    except KeyboardInterrupt:
        if answers:
            raise answers[0] from None
        raise
    finally:
        if signal.SIGALRM in before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def _watched(training: _Training, terminate: Callable[[], None] | None) -> Iterator[None]:
    """Run the block while a thread looks for nodes that go."""
    over = threading.Event()
    watch = _Watch(training, terminate)

    def look() -> None:
        while not over.wait(_ANSWER_EVERY_S if watch.awaits_checkpoint else _LOOK_EVERY_S):
            # The head may be slow, or going itself; SIGTERM is heard all the same.
            with suppress(ClusterError, RayError):
                watch.look()

    with suppress(ClusterError):
        watch.begin()
    thread = threading.Thread(target=look, name="nodes that go", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_ANSWER_S)
        with suppress(ClusterError):
            watch.end()


class _Watch:
    """Passes on what the control store says of nodes that go, and tells them when their checkpoint is written."""

    def __init__(self, training: _Training, terminate: Callable[[], None] | None) -> None:
        self._training, self._terminate = training, terminate
        self._notes: TrainingNotes | None = None
        self._requests: dict[str, int] = {}
        self._let_go: set[str] = set()

    @property
    def awaits_checkpoint(self) -> bool:
        """Whether a node waits for a checkpoint."""
        return bool(self._requests.keys() - self._let_go)

    def begin(self) -> TrainingNotes:
        """Tell the nodes that the training runs, unless they know."""
        if self._notes is None:
            context = ray.get_runtime_context()
            store = ControlStore(context.gcs_address)
            self._notes = TrainingNotes.open(store, context.get_job_id(), context.get_node_id())
        return self._notes

    def end(self) -> None:
        """Tell the nodes that the training is over."""
        if self._notes:
            self._notes.close()

    def look(self) -> None:
        """Look once for nodes that go."""
        notes = self.begin()
        leaving = notes.leaving_nodes()
        if notes.node_id in leaving and self._terminate:
            self._terminate()
            self._terminate = None
        unknown = leaving - self._requests.keys() - {notes.node_id}
        if unknown:
            self._hear_of(unknown, notes)
        for node, request in self._requests.items():
            if node not in self._let_go and (step := self._training.saved(request)) is not None:
                logger.info("the checkpoint of step %d is written; node %s may go", step, node[:8])
                notes.saved_for(node, step)
                self._let_go.add(node)

    def _hear_of(self, leaving: set[str], notes: TrainingNotes) -> None:
        ours = self._training.nodes() & leaving
        for node in leaving - ours - self._let_go:
            notes.nothing_on(node)
            self._let_go.add(node)
        for node in ours:
            logger.info("node %s will be taken away: writing a checkpoint", node[:8])
            notes.writes_for(node)
            self._let_go.discard(node)
            self._requests[node] = self._training.request()


class _InProcess:
    """A training in the process that gets the signal."""

    def __init__(self, patience_s: float) -> None:
        self.notice = _ProcessNotice()
        self.patience_s = patience_s

    def terminate(self) -> None:
        self.notice.asked = True

    def nodes(self) -> set[str]:
        return set()

    def request(self) -> int:
        return 0  # no node but its own matters to a training in one process

    def saved(self, request: int) -> int | None:
        return None


class _ProcessNotice:
    def __init__(self) -> None:
        self.asked = False

    def checkpoint_wanted(self, step: int) -> bool:
        return self.asked

    def checkpoint_written(self, step: int) -> None:
        if self.asked:
            raise TerminatedError(_ended_at(step))


class _InWorkers:
    """A training in Ray's workers: an actor on the driver's node carries requests and answers."""

    def __init__(self, patience_s: float) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._carrier: Any = _Carrier.options(scheduling_strategy=here).remote()
        self.notice = _WorkerNotice(self._carrier)
        self.patience_s = patience_s

    def terminate(self) -> None:
        # The main thread may be anywhere inside Ray: another one speaks to the carrier.
        answers: list[TerminatedError] = []
        asking = threading.Thread(target=lambda: answers.append(self._answer()), name="SIGTERM", daemon=True)
        asking.start()
        asking.join(self.patience_s)
        raise answers[0] if answers else _too_late(self.patience_s)

    def _answer(self) -> TerminatedError:
        try:
            request = self.request()
            while (step := self.saved(request)) is None:
                if reason := self._in_vain():
                    before = self.saved(0)
                    return _ended_without(reason) if before is None else TerminatedError(_ended_at(before))
                time.sleep(_ANSWER_EVERY_S)
        except RayError:
            return _ended_without("since the workers were ended as well")
        return TerminatedError(_ended_at(step))

    def _in_vain(self) -> str | None:
        """The reason why no checkpoint will come, if it is known."""
        node = self._ask("writer")
        if node is None:
            return "since no worker has begun to train"
        if not any(known["NodeID"] == node and known["Alive"] for known in ray.nodes()):
            return "since the node of the first worker is gone"
        return None

    def nodes(self) -> set[str]:
        return set(self._ask("nodes"))

    def request(self) -> int:
        return self._ask("request")

    def saved(self, request: int) -> int | None:
        return self._ask("saved", request)

    def _ask(self, what: str, *arguments: int) -> Any:
        return ray.get(getattr(self._carrier, what).remote(*arguments), timeout=_ANSWER_S)


class _WorkerNotice:
    """The notice in a worker. The first one alone waits for requests, since it alone writes checkpoints."""

    def __init__(self, carrier: Any) -> None:
        self._carrier = carrier
        self._rank: int | None = None
        self._pending: ray.ObjectRef | None = None
        self._request: int | None = None

    def checkpoint_wanted(self, step: int) -> bool:
        if self._rank is None:
            self._join()
        if self._request is None and self._pending is not None and ray.wait([self._pending], timeout=0)[0]:
            self._hear()
        return self._request is not None

    def checkpoint_written(self, step: int) -> None:
        logger.info("checkpoint of step %d written upon notice", step)
        if self._request is not None:
            self._carrier.answer.remote(self._request, step)
            self._pending, self._request = self._carrier.requested.remote(self._request), None

    def _join(self) -> None:
        import ray.train  # brings torch, and more: not for a driver to wait for

        context = ray.train.get_context()
        self._rank = context.get_world_rank()
        node = ray.get_runtime_context().get_node_id()
        self._carrier.join.remote(self._rank, context.get_world_size(), node)
        if self._rank == 0:
            self._pending = self._carrier.requested.remote()

    def _hear(self) -> None:
        pending: Any = self._pending
        self._pending = None
        with suppress(RayError):  # the carrier goes with the driver, and then this worker does, too
            self._request = ray.get(pending)


@ray.remote(num_cpus=0)
class _Carrier:
    """Numbered requests, and the newest that was answered."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._newest = self._answered = 0
        self._step: int | None = None
        self._nodes: dict[int, str] = {}

    async def join(self, rank: int, world_size: int, node_id: str) -> None:
        """Register a worker that begins; after a restart there may be fewer of them."""
        kept = {other: node for other, node in self._nodes.items() if other < world_size}
        self._nodes = {**kept, rank: node_id}

    async def nodes(self) -> list[str]:
        return list(self._nodes.values())

    async def writer(self) -> str | None:
        """Node of the worker that writes checkpoints, the last one that has begun."""
        return self._nodes.get(0)

    async def request(self) -> int:
        async with self._changed:
            self._newest += 1
            self._changed.notify_all()
            return self._newest

    async def requested(self, after: int | None = None) -> int:
        """Wait for a request that is newer than this one, or than all that were answered."""
        async with self._changed:
            known = self._answered if after is None else after
            await self._changed.wait_for(lambda: self._newest > known)
            return self._newest

    async def answer(self, request: int, step: int) -> None:
        self._answered, self._step = max(self._answered, request), step

    async def saved(self, request: int) -> int | None:
        """Step of the newest checkpoint if it was written for this request or a later one; 0 takes any."""
        return self._step if self._answered >= request else None


def _ended_at(step: int) -> str:
    if step == 0:
        return (
            "ended by SIGTERM before a stage's first step; what was done is saved: the same command goes on from there"
        )
    return f"ended by SIGTERM; the checkpoint of step {step} is written: the same command goes on from there"


def _too_late(patience_s: float) -> TerminatedError:
    return _ended_without(f"within {patience_s:g} s")


def _ended_without(reason: str) -> TerminatedError:
    return TerminatedError(
        f"ended by SIGTERM; no checkpoint was written {reason}, so the last one before counts: the same command goes "
        "on from there"
    )
