"""What a pod runs before Kubernetes ends it (`preStop`): the work that needs this node is saved, then Ray ends here.

`python -m cluster.drain` finds the Ray of its container. A worker's node is declared as going, so that Ray starts
nothing more on it; a head says so to the drivers that run on it, which end as after SIGTERM. The hook then waits until
every training to which this node matters has written its checkpoint, and ends `ray start`, to which the shell of the
container does not pass SIGTERM on. It always ends within its limit, with exit code 0, whatever becomes of Ray.

The jobs are not stopped by Ray's job API: KubeRay would take a stopped job for a complete one and start no new cluster.
"""

import argparse
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# Nothing here imports Ray, but for the child process that speaks to it.
if TYPE_CHECKING:
    from cluster.control_store import ControlStore, TrainingNotes

logger = logging.getLogger("cluster.drain")

LIMIT_S = 52.0
"""More than a training's patience takes, and less than a pod's grace of 60 s by what it takes to end Ray."""
_END_S = 5.0
_LOOK_EVERY_S = 0.3
_CONNECT_S = 3.0
_DRIVER_ENDS_S = 5.0
_EXIT_CODE_S = 2.0
"""Ray's supervisor of a job looks once a second whether its driver has ended, and with what: retries depend on it."""
_WORKERS_MOVE_S = 10.0
_ENDED_EVERY_S = 0.1
_STATE, _PARENT, _BEGAN = 0, 1, 19


@dataclass(frozen=True)
class Raylet:
    """The process that makes this machine a node of a Ray cluster.

    Attributes:
        pid: Process id of the raylet.
        node_id: hexadecimal.
        gcs_address: HOST:PORT of the head's control store.
        is_head: whether the head itself runs here.
    """

    pid: int
    node_id: str
    gcs_address: str
    is_head: bool


def raylets() -> list[Raylet]:
    """All that this process can see: in a container, the one of its pod."""
    found = []
    for pid, words in _command_lines():
        flags = dict(word[2:].split("=", 1) for word in words[1:] if word.startswith("--") and "=" in word)
        if Path(words[0]).name == "raylet" and {"node_id", "gcs-address"} <= flags.keys():
            found.append(Raylet(pid, flags["node_id"], flags["gcs-address"], "--head" in words))
    return found


def save_work(raylet: Raylet, limit_s: float) -> None:
    """Say that this node goes, and wait until every training has answered or is over.

    Args:
        raylet: Raylet of this node.
        limit_s: what Ray is told as the time that is left.

    Raises:
        ClusterError: the head does not answer.
        OSError: nothing listens at the head's address.
    """
    host, port = raylet.gcs_address.rsplit(":", 1)
    socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()  # Ray's client would try for 40 s
    from cluster.control_store import ControlStore, TrainingNotes, say_leaving

    store = ControlStore(raylet.gcs_address)
    if raylet.is_head:
        say_leaving(store, raylet.node_id)
    else:
        store.drain(raylet.node_id, limit_s, "its pod is being deleted")
    waiting = {training.name: training for training in TrainingNotes.all(store)}
    while waiting:
        for name, training in list(waiting.items()):
            if outcome := _outcome(training, raylet):
                logger.info("training %s: %s", name[:8], outcome)
                del waiting[name]
        time.sleep(_LOOK_EVERY_S)
    if not raylet.is_head:
        _let_workers_move(store, raylet)


def _let_workers_move(store: "ControlStore", raylet: Raylet) -> None:
    """Wait until Ray Train has taken its workers off this node.

    It starts them anew elsewhere when a drained node's time is over, and counts no failure; the end of Ray under them
    would count as one.
    """
    store.drain(raylet.node_id, _LOOK_EVERY_S, "its work is saved")
    deadline = time.monotonic() + _WORKERS_MOVE_S
    while _trains_here(raylet.pid) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def _trains_here(raylet_pid: int) -> bool:
    """Whether the raylet has a worker of Ray Train; Ray writes what its processes do over their command lines."""
    return any("RayTrainWorker" in words[0] and _parent(pid) == raylet_pid for pid, words in _command_lines())


def _outcome(training: "TrainingNotes", raylet: Raylet) -> str | None:
    """Why a training does not need this node any longer; None while it does."""
    if training.node_id != raylet.node_id:
        if training.lets_go(raylet.node_id):
            return training.said_to(raylet.node_id)
        return "over" if training.is_over() else None
    if not training.is_over():
        return None
    deadline = time.monotonic() + _DRIVER_ENDS_S
    while not training.store.job_is_over(training.job_id) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    time.sleep(_EXIT_CODE_S)
    return "over"


@dataclass(frozen=True)
class Process:
    """A process, and not a later one of its number.

    Attributes:
        pid: its number.
        began: when it began, in the kernel's ticks.
    """

    pid: int
    began: str

    @property
    def runs(self) -> bool:
        """Whether the process is there and no zombie."""
        fields = _stat(self.pid)
        return fields is not None and fields[_BEGAN] == self.began and fields[_STATE] not in "ZX"

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.runs:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def processes(raylet: Raylet) -> list[Process]:
    """What makes this node: the raylet, and the `ray start` that it belongs to.

    A raylet that is drained and has no work ends by itself, while `ray start` goes on without it.
    """
    found = [(pid, _stat(pid)) for pid in (raylet.pid, _ray_start(raylet.pid)) if pid is not None]
    return [Process(pid, fields[_BEGAN]) for pid, fields in found if fields is not None]


def end_ray(node: Sequence[Process], patience_s: float = _END_S) -> None:
    """End all of Ray on this node; what does not end in time is killed.

    Args:
        node: see `processes`. The raylet comes first, since `ray start` would wait half a minute for the work on it.
        patience_s: seconds between SIGTERM and SIGKILL.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in node:
            process.send(number)
        deadline = time.monotonic() + patience_s
        while any(process.runs for process in node) and time.monotonic() < deadline:
            time.sleep(_ENDED_EVERY_S)


def _ray_start(raylet_pid: int) -> int | None:
    """The `ray start --block` that a raylet belongs to; None if it has been left alone."""
    parent = _parent(raylet_pid)
    words = dict(_command_lines()).get(parent, [])
    return parent if "start" in words and any(Path(word).name == "ray" for word in words) else None


def _parent(pid: int) -> int:
    """Process that started another one; 0 if that is gone."""
    fields = _stat(pid)
    return 0 if fields is None else int(fields[_PARENT])


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and (line := (folder / "cmdline").read_bytes().rstrip(b"\0")):
                yield int(folder.name), [word.decode(errors="replace") for word in line.split(b"\0")]


def _try_to_save_work(raylet: Raylet, limit_s: float) -> None:
    try:
        save_work(raylet, limit_s)
    except Exception as error:  # whatever it is, the pod goes
        logger.warning("Ray is ended without waiting for a checkpoint: %s", " ".join(str(error).split()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the hook."""
    began = time.monotonic()
    options = _options(arguments)
    found = [raylet for raylet in raylets() if options.node_id in (None, raylet.node_id)]
    _begin_log(options.log, found)
    if len(found) != 1:
        expected = "this container's own" if options.node_id is None else f"that of node {options.node_id}"
        logger.warning("found %d processes of Ray, expected %s alone; name it by --node-id", len(found), expected)
        return
    (raylet,) = found
    logger.info("node %s goes: saving the work that needs it", raylet.node_id[:8])
    node = processes(raylet)
    saving = multiprocessing.get_context("fork").Process(target=_try_to_save_work, args=(raylet, options.limit))
    saving.start()
    saving.join(options.limit)
    if saving.is_alive():
        logger.warning("no checkpoint within %g s: the last one before counts", options.limit)
        saving.kill()
        saving.join()
    logger.info("ending Ray after %.1f s", time.monotonic() - began)
    end_ray(node)
    logger.info("ended after %.1f s", time.monotonic() - began)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.drain", description="Save work, then end Ray on this node."
    )
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds to wait for checkpoints (%(default)g)")
    parser.add_argument("--node-id", help="hexadecimal id, where a machine holds several nodes of Ray")
    parser.add_argument(
        "--log", help="where to print; container: where `ray start` does, for a hook's own output is lost"
    )
    return parser.parse_args(arguments)


def _begin_log(log: str | None, found: Sequence[Raylet]) -> None:
    """Print to stderr, to a file, or to the log of the container; its process 1 may be another container's."""
    stream = sys.stderr
    if log is not None:
        starts = filter(None, (_ray_start(raylet.pid) for raylet in found))
        path = Path(f"/proc/{next(starts, 1)}/fd/2" if log == "container" else log)
        with suppress(OSError):
            stream = path.open("a", buffering=1)
    logging.basicConfig(stream=stream, level=logging.INFO, format="dakpn drain: %(message)s")


if __name__ == "__main__":
    main()
