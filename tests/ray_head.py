"""Ray clusters started by `ray start`, with token authentication and ports of their own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.command import environment
from tests.processes import end

TOKEN = "token-of-the-tests-0123456789abcdef"  # noqa: S105 - opens nothing but this cluster
_STARTS = 4
_SOON_KNOWN_AS_DEAD = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "4"}
"""A killed node refuses connections: 4 seconds of that are enough, where Ray waits 15."""


@dataclass
class RayHead:
    """A running head.

    Attributes:
        address: URL of the dashboard.
        folder: temporary files.
        gcs: address that nodes join.
        process: its `ray start`.
    """

    address: str
    folder: Path
    gcs: str
    process: subprocess.Popen[bytes]

    @property
    def access(self) -> dict[str, str]:
        """Environment of a command that may use the cluster."""
        return {"RAY_API_SERVER_ADDRESS": self.address, "RAY_AUTH_TOKEN": TOKEN, "HOME": str(self.folder)}


class RayCluster(RayHead):
    """A head without CPUs, as on Kubernetes, and nodes that come and go."""

    def __init__(self, head: RayHead, stack: contextlib.ExitStack) -> None:
        super().__init__(head.address, head.folder, head.gcs, head.process)
        self._stack = stack
        self.nodes: list[subprocess.Popen[bytes]] = []

    def add_node(self, cpus: int) -> None:
        """Start a node, and wait until it is there; `end` of `tests.processes` kills it with all of its workers."""
        # Nodes that share a folder, as no machines do, unpack a job's code over one another.
        place = f"--temp-dir={self.folder}/node{len(self.nodes)}"
        options = [f"--address={self.gcs}", f"--num-cpus={cpus}", place]
        alive = 2 + sum(node.poll() is None for node in self.nodes)  # with the head and the new one
        self.nodes.append(_started(self._stack, options, self.folder, self.address, alive))


@contextmanager
def ray_cluster(*cpus_of_nodes: int) -> Iterator[RayCluster]:
    """Start a head without CPUs and these nodes, for as long as the block."""
    with ray_head(cpus=0) as head, contextlib.ExitStack() as stack:
        cluster = RayCluster(head, stack)
        for cpus in cpus_of_nodes:
            cluster.add_node(cpus)
        yield cluster


@contextmanager
def ray_head(cpus: int) -> Iterator[RayHead]:
    """Start a head that lasts as long as the block."""
    # A socket's path may have 107 characters, which pytest's own temporary folders take up.
    with (
        tempfile.TemporaryDirectory(prefix="dakpn", ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        gcs, dashboard, client = _free_ports(3)
        head = [
            *("--head", f"--port={gcs}", f"--num-cpus={cpus}", f"--temp-dir={folder}/ray"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
        ]
        address = f"http://127.0.0.1:{dashboard}"
        process = _started(stack, head, folder, address, 1)
        yield RayHead(address, folder, f"127.0.0.1:{gcs}", process)


@contextmanager
def _node(options: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ray start` as long as the block."""
    agents = _free_ports(3)
    ray = Path(sys.executable).parent / "ray"
    command = [
        *(str(ray), "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"),
        *(f"--dashboard-agent-listen-port={agents[0]}", f"--dashboard-agent-grpc-port={agents[1]}"),
        *(f"--runtime-env-agent-port={agents[2]}", "--object-store-memory=200000000", *options),
    ]
    # RAY_TMPDIR holds the note of the newest cluster, which others on this machine would join.
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "HOME": str(folder), "RAY_TMPDIR": str(folder)}
    path = f"{ray.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    env = environment(RAY_USAGE_STATS_ENABLED="0", PATH=path, **own, **_SOON_KNOWN_AS_DEAD)
    del env["PYTHONPATH"]  # jobs bring their own code
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _started(
    stack: contextlib.ExitStack, options: list[str], folder: Path, address: str, nodes: int
) -> subprocess.Popen[bytes]:
    """A node that has come up; tried anew when `ray start` ends, as it does after half a minute on a busy machine."""
    for _ in range(_STARTS):
        node = stack.enter_context(_node(options, folder))
        if _is_up(address, nodes, node):
            return node
        end(node)
    raise AssertionError(f"the Ray cluster has not {nodes} nodes: {(folder / 'log').read_text()}")


def _is_up(address: str, nodes: int, newest: subprocess.Popen[bytes], patience: float = 180) -> bool:
    """Wait until the dashboard knows so many nodes, or the newest has ended."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{address}/nodes?view=summary", headers=headers)  # noqa: S310 - http, ours
    deadline = time.monotonic() + patience
    while newest.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - http, ours
            summary = json.load(answer)["data"]["summary"]
            if sum(node["raylet"].get("state") == "ALIVE" for node in summary) >= nodes:
                return True
        time.sleep(0.3)
    return False
