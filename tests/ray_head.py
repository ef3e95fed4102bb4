"""A Ray cluster started by `ray start --head`, with token authentication and ports of its own."""

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


@dataclass(frozen=True)
class RayHead:
    """A running head.

    Attributes:
        address: URL of the dashboard.
        folder: temporary files.
    """

    address: str
    folder: Path

    @property
    def access(self) -> dict[str, str]:
        """Environment of a command that may use the cluster."""
        return {"RAY_API_SERVER_ADDRESS": self.address, "RAY_AUTH_TOKEN": TOKEN, "HOME": str(self.folder)}


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
        stack.enter_context(_node(head, folder))
        _wait_for(f"{address}/nodes?view=summary", 1, folder)
        yield RayHead(address, folder)


@contextmanager
def _node(options: list[str], folder: Path) -> Iterator[None]:
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
    env = environment(RAY_USAGE_STATS_ENABLED="0", PATH=path, **own)
    del env["PYTHONPATH"]  # jobs bring their own code
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        yield
    finally:
        end(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(url: str, nodes: int, folder: Path, patience: float = 90) -> None:
    """Wait until the dashboard knows so many nodes."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310 - http, ours
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - http, ours
            summary = json.load(answer)["data"]["summary"]
            if sum(node["raylet"].get("state") == "ALIVE" for node in summary) >= nodes:
                return
        time.sleep(0.3)
    raise AssertionError(f"the Ray cluster has not {nodes} nodes after {patience} s: {(folder / 'log').read_text()}")
