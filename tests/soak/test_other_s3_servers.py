"""The storage tests on other S3 servers than the suite's own, which differ in what they check and refuse."""

import os
import subprocess
import sys

import pytest

from tests.paths import REPOSITORY
from tests.s3_server import SERVER_VARIABLE, SERVERS

ALL = ("tests/integration/test_s3.py", "tests/integration/test_s3_folders.py")
TESTS = {
    "moto": (*ALL, "-k", "not wrong_keys"),  # moto checks no signature
    "rclone": ALL,
    "s3rver": (*ALL[:1], "-k", "not wrong_keys"),  # it takes a wrong secret
}
"""What of the tests each server is to pass."""


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TESTS)
def test_the_storage_tests_pass(name: str) -> None:
    server = SERVERS[name]
    if server.path is None:
        pytest.skip(f"{server.program} is not here; it comes with {server.source}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", "not soak", *TESTS[name]]
    environment = {**os.environ, SERVER_VARIABLE: name}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=1700, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout[-2000:]
