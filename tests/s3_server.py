"""A real S3 server over a local folder: the gateway of JuiceFS."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEYS = {
    "AWS_ACCESS_KEY_ID": "dakpn-tests",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret-0123456789",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_BINARY = Path(sys.executable).parent / "juicefs"


def is_installed() -> bool:
    return _BINARY.exists()


@contextmanager
def s3_gateway(folder: Path) -> Iterator[str]:
    """Run a server for the block; yields its address, HOST:PORT.

    Args:
        folder: Gets its database, its objects and its log.
    """
    database = f"sqlite3://{folder}/meta.db"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    volume = [_BINARY, "format", "--storage", "file", "--bucket", f"{folder}/objects/", database, "tests"]
    subprocess.run(volume, check=True, capture_output=True)
    keys = {"MINIO_ROOT_USER": KEYS["AWS_ACCESS_KEY_ID"], "MINIO_ROOT_PASSWORD": KEYS["AWS_SECRET_ACCESS_KEY"]}
    gateway = [_BINARY, "gateway", "--multi-buckets", "--no-usage-report", "--cache-dir", f"{folder}/cache"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*gateway, database, address],
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **keys},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(address, server, folder / "log")
            yield address
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    host, port = address.split(":")
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"no answer from the S3 server: {log.read_text()}")
