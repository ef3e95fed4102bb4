"""A Ray session: the cluster that `RAY_ADDRESS` names, or one of this process on this machine."""

import logging
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from dakpn.errors import ClusterError, UsageError

_LOCAL_OBJECT_STORE_BYTES = 500_000_000
_STREAMS_END_WITHIN_S = 3.0


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
        ClusterError: Ray does not start on this machine.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, logging_level=logging.WARNING)
    else:
        _start_local(max(os.cpu_count() or 1, round(max(cpus, wanted_cpus) + 0.5)))
    others = set(threading.enumerate())
    try:
        _require_cpus(cpus)
        quiet_ray_data()
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


def _start_local(cpus: int) -> None:
    try:
        ray.init(
            address="local",
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


def quiet_ray_data() -> None:
    """Turn off Ray Data's progress bars and chatter in this process; the workflows print their own lines."""
    import ray.data  # brings pandas: a training in one process needs neither

    ray.data.DataContext.get_current().enable_progress_bars = False
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
