"""A Ray session: the cluster that `RAY_ADDRESS` names, or one of this process on this machine."""

import logging
import os
import signal
import socket
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from dakpn.errors import ClusterError, UsageError
from dakpn.import_order import is_shadowed

logger = logging.getLogger(__name__)

_LOCAL_OBJECT_STORE_BYTES = 500_000_000
_STREAMS_END_WITHIN_S = 3.0
_REACHED_WITHIN_S = 10.0
_SLOW_S = 5.0
_TOLD_EVERY_S = 15.0
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HTTP2_SETTINGS = 4
"""Every server of HTTP/2, as those of Ray are, greets back with a frame of this type."""
_HEAD_METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_LONGEST_SOCKET = 103
"""Bytes of a socket's path that every system takes; Ray's own are below its folder for temporary files."""
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
_SHORT_FOLDER = "/tmp"  # noqa: S108 - Ray makes a folder of its own there


@contextmanager
def ray_session(cpus: float, wanted_cpus: float = 0) -> Iterator[None]:
    """Run the block with Ray connected.

    On this machine Ray counts CPUs only for scheduling, so a local session gets as many as the job asks for. On a
    cluster too few would make Ray Data wait in silence, so they are refused here.

    Args:
        cpus: logical CPUs that the job holds at the same time.
        wanted_cpus: what it could make use of, if that is more.

    Raises:
        UsageError: the cluster is too small for the job.
        ClusterError: Ray does not start on this machine, or the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _connect(address)
    else:
        _start_local(max(os.cpu_count() or 1, round(max(cpus, wanted_cpus) + 0.5)))
    others = set(threading.enumerate())
    try:
        _require_cpus(cpus)
        quiet_ray()
        yield
    except BaseException as error:
        _end_streams(error, others)
        raise
    finally:
        ray.shutdown()


def _end_streams(error: BaseException, others: set[threading.Thread]) -> None:
    """End the Ray Data streams that the error left open, and wait for their threads.

    The frames of its traceback hold the streams. A stream's thread that asks Ray for a block after Ray's shutdown ends
    the whole process, with Ray's exit code.
    """
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
    deadline = time.monotonic() + _STREAMS_END_WITHIN_S
    for thread in set(threading.enumerate()) - others:
        if thread.daemon and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def _told_if_slow(waiting: str) -> Iterator[None]:
    """Run the block; once it has taken some seconds, the log says what is waited for, and again from time to time."""
    over, begin = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = _SLOW_S
        while not over.wait(pause):
            logger.info("still waiting %s, for %.0f s now", waiting, time.monotonic() - begin)
            pause = _TOLD_EVERY_S

    teller = threading.Thread(target=tell, name="slow start", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _connect(address: str) -> None:
    """Connect to the cluster that `RAY_ADDRESS` names; Ray itself would try one that is dead, or none, for minutes."""
    _require_head(address)
    try:
        with _told_if_slow(f"for the Ray cluster at {address} to let this command in"):
            # A training's lines come from its workers, through Ray's log: without it, a joined cluster is silent.
            ray.init(address=address, logging_level=logging.WARNING, **_runtime_env())
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise _unreachable(address, error) from error


def _require_head(address: str) -> None:
    """Refuse an address where nothing listens, or something that is no head of a Ray cluster."""
    _, separator, rest = address.rpartition("://")
    host, colon, port = rest.partition("/")[0].rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto", "local": for Ray to find
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_WITHIN_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return
            connection.sendall(_HTTP2_GREETING)
            answer = connection.recv(9)
    except OSError as error:
        raise _unreachable(address, error) from error
    if len(answer) < 4 or answer[3] != _HTTP2_SETTINGS:
        raise _unreachable(address, ConnectionError("what listens there is no Ray"))
    if not separator and not _answers_as_head(f"{host}:{port}"):
        raise _unreachable(
            address, ConnectionError("what listens there is no head of Ray; its client server takes ray://HOST:PORT")
        )


def _answers_as_head(address: str) -> bool:
    """Tell whether a server of gRPC knows a method that every head of Ray has, whatever it answers."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_HEAD_METHOD)(b"", timeout=_REACHED_WITHIN_S)
        except grpc.RpcError as error:
            status = error.code()  # pyright: ignore[reportAttributeAccessIssue] - of each call's error
            return status not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE)
    return True


def _unreachable(address: str, error: Exception) -> ClusterError:
    reason = " ".join(str(error).split())[:200]
    return ClusterError(
        f"the Ray cluster at {address}, which RAY_ADDRESS names, cannot be reached ({reason}); start it, correct the "
        "address, or unset RAY_ADDRESS to run on this machine"
    )


def _runtime_env() -> dict[str, Any]:
    """Return what keeps files of the current folder, which Ray's workers look in first, from shadowing our packages."""
    if not is_shadowed(Path.cwd()):
        return {}
    return {"runtime_env": {"worker_process_setup_hook": "dakpn.import_order.project_first"}}


def _short_folder() -> dict[str, Any]:
    """Return a folder for Ray's sockets where that for temporary files has too long a name. Raises `ClusterError`."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(usual + _SOCKET)) <= _LONGEST_SOCKET:
        return {}
    if os.access(_SHORT_FOLDER, os.W_OK | os.X_OK):
        return {"_temp_dir": f"{_SHORT_FOLDER}/ray-{os.getuid()}"}
    raise ClusterError(
        f"the folder for temporary files, {usual}, has too long a name for the sockets of Ray, and {_SHORT_FOLDER} "
        "cannot be written; set RAY_TMPDIR to a short path"
    )


def _start_local(cpus: int) -> None:
    try:
        with _told_if_slow("for the processes of a Ray on this machine to start"):
            ray.init(
                address="local",
                **_runtime_env(),
                **_short_folder(),
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_LOCAL_OBJECT_STORE_BYTES,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:
        if "timed out during startup" not in str(error):  # Ray raises no class of its own for it
            raise
        raise ClusterError(
            "Ray did not start on this machine within half a minute: it is too busy, or short of memory; run the same "
            "command again when it is not"
        ) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Run the block with Ctrl-C as Python means it.

    Ray Train puts a handler of its own in place, which leaves with exit code 0 or 1 and stays after the training.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def quiet_ray() -> None:
    """Turn off the chatter of Ray's libraries in this process; the workflows print their own lines."""
    for name in ("ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs a traceback of every error that it also raises
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")


def _require_cpus(cpus: float) -> None:
    available = ray.cluster_resources().get("CPU", 0)
    if available < cpus:
        raise UsageError(
            f"the Ray cluster has {available:g} CPUs, the job needs {cpus:g} at the same time (workers and one per "
            "data stream); lower `workers` or enlarge the cluster"
        )
    free = ray.available_resources().get("CPU", 0)
    if free < cpus:
        logger.info("%g of the cluster's %g CPUs are free, the job waits for %g", free, available, cpus)


def require_gpus(
    count: float, asked: str = "use_gpu is true", way_out: str = "set use_gpu=false, lower `workers`"
) -> None:
    """Refuse a job for GPUs on a Ray of this machine that has fewer; another cluster may yet grow, and is waited for.

    Raises:
        UsageError: this machine has too few.
    """
    there = ray.cluster_resources().get("GPU", 0)
    if there >= count:
        return
    if os.environ.get("RAY_ADDRESS"):
        logger.warning("the cluster has %g GPUs, the job needs %g: it begins when there are so many", there, count)
        return
    raise UsageError(
        f"{asked}, but Ray finds {there:g} GPUs on this machine, expected {count:g}; {way_out}, or name a cluster that "
        "has GPUs in RAY_ADDRESS"
    )
