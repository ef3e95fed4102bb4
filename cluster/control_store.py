"""What a training and a node that is about to go tell one another, in the control store of Ray's head (the GCS).

Ray has public calls neither for the list of draining nodes nor to drain one; all that is private is in `ControlStore`.
"""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import JobID
from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError

from dakpn.errors import ClusterError

_NAMESPACE = b"dakpn"
_TRAINING, _LEAVING = "training/", "leaving/"
_WRITING, _NOTHING_HERE, _SAVED = "writing", "nothing here", "saved"
_TIMEOUT_S = 5


class ControlStore:
    """The control store of a Ray cluster, spoken to without `ray.init`.

    The client is Ray's own private one, which `ray drain-node`, Ray Train and Ray Data use for the same;
    the tests of this file, and of `cluster.drain` with nodes, are the first to fail when it changes.

    Args:
        address: HOST:PORT of the head.

    Raises:
        ClusterError: by every method: nothing answers there within some seconds.
    """

    def __init__(self, address: str) -> None:
        from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue] - compiled

        self._address = address
        with self._asking():
            self._client: Any = GcsClient(address=address)

    def drain(self, node_id: str, seconds: float, reason: str) -> None:
        """Declare that a node will be gone in so many seconds: Ray starts nothing more on it."""
        deadline_ms = int((time.time() + seconds) * 1000)
        why = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION  # pyright: ignore[reportAttributeAccessIssue] - no node refuses
        with self._asking():
            accepted, refusal = self._client.drain_node(node_id, why, reason, deadline_ms, timeout=_TIMEOUT_S)
        if not accepted:
            raise ClusterError(f"the Ray cluster at {self._address} does not drain node {node_id}: {refusal}")

    def draining(self) -> set[str]:
        """Ids of the nodes that are being drained and still there."""
        with self._asking():
            return set(self._client.get_draining_nodes(timeout=_TIMEOUT_S))

    def job_is_over(self, job_id: str) -> bool:
        """Whether the driver of a job, by its hexadecimal id, is gone."""
        with self._asking():
            jobs = self._client.get_all_job_info(
                skip_submission_job_info_field=True, skip_is_running_tasks_field=True, timeout=_TIMEOUT_S
            )
        job = jobs.get(JobID.from_hex(job_id))
        return job is None or job.is_dead

    def put(self, key: str, value: str) -> None:
        """Store a note; one of the same key is replaced."""
        with self._asking():
            self._client.internal_kv_put(key.encode(), value.encode(), True, _NAMESPACE, _TIMEOUT_S)

    def get(self, key: str) -> str | None:
        """Read a note."""
        with self._asking():
            value = self._client.internal_kv_get(key.encode(), _NAMESPACE, _TIMEOUT_S)
        return None if value is None else value.decode()

    def keys(self, prefix: str) -> list[str]:
        """Keys of the notes that begin so."""
        with self._asking():
            return [key.decode() for key in self._client.internal_kv_keys(prefix.encode(), _NAMESPACE, _TIMEOUT_S)]

    def delete(self, prefix: str) -> None:
        """Delete the notes whose keys begin with `prefix`."""
        with self._asking():
            self._client.internal_kv_del(prefix.encode(), True, _NAMESPACE, _TIMEOUT_S)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (RayError, ConnectionError, TimeoutError, RuntimeError) as error:
            raise ClusterError(
                f"the head of the Ray cluster at {self._address} does not answer ({type(error).__name__}); see whether "
                "it runs"
            ) from error


@dataclass(frozen=True)
class TrainingNotes:
    """A training's own notes: that it runs, and what it says to each node that will go.

    Args:
        store: Store of its cluster.
        name: Name of the training, unlike all others.
        job_id: Job id of the driver, hexadecimal.
        node_id: Node id of the driver.
    """

    store: ControlStore
    name: str
    job_id: str
    node_id: str

    @staticmethod
    def open(store: ControlStore, job_id: str, node_id: str) -> "TrainingNotes":
        """Say that a training runs, so that nodes wait for its word before they go."""
        notes = TrainingNotes(store, uuid.uuid4().hex, job_id, node_id)
        store.put(_TRAINING + notes.name, json.dumps({"job": job_id, "node": node_id}))
        return notes

    @staticmethod
    def all(store: ControlStore) -> list["TrainingNotes"]:
        """Return the notes of all trainings that run, or whose driver died without a word."""
        found = []
        for key in store.keys(_TRAINING):
            value = store.get(key) if key.count("/") == 1 else None
            if value is not None:
                said = json.loads(value)
                found.append(TrainingNotes(store, key.removeprefix(_TRAINING), said["job"], said["node"]))
        return found

    def close(self) -> None:
        """Say that the training is over, so that no node waits for it."""
        self.store.delete(_TRAINING + self.name)

    def leaving_nodes(self) -> set[str]:
        """Nodes that are drained or whose pod is being deleted."""
        return self.store.draining() | {key.removeprefix(_LEAVING) for key in self.store.keys(_LEAVING)}

    def nothing_on(self, node_id: str) -> None:
        """Tell a node that it need not wait."""
        self._tell(node_id, _NOTHING_HERE)

    def writes_for(self, node_id: str) -> None:
        """Tell a node that a checkpoint is being written because of it."""
        self._tell(node_id, _WRITING)

    def saved_for(self, node_id: str, step: int) -> None:
        """Tell a node that the checkpoint is written."""
        self._tell(node_id, f"{_SAVED} {step}")

    def said_to(self, node_id: str) -> str | None:
        """What a node was told: `nothing here`, `writing`, `saved STEP`; None if nothing yet."""
        return self.store.get(self._key(node_id))

    def lets_go(self, node_id: str) -> bool:
        """Whether a node may go, as far as this training is concerned."""
        said = self.said_to(node_id)
        return said is not None and said != _WRITING

    def is_over(self) -> bool:
        """Whether the training has ended, or its driver is gone."""
        return self.store.get(_TRAINING + self.name) is None or self.store.job_is_over(self.job_id)

    def _tell(self, node_id: str, what: str) -> None:
        self.store.put(self._key(node_id), what)

    def _key(self, node_id: str) -> str:
        return f"{_TRAINING}{self.name}/{node_id}"


def say_leaving(store: ControlStore, node_id: str) -> None:
    """Say that a node goes which Ray must not drain: a head without work would end at once, and the drivers on it."""
    store.put(_LEAVING + node_id, "")
