"""A real S3 server behind a proxy that fails on demand: what is tried again, what is not, and what is said."""

import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import fsspec
import pytest

from cluster.ray_storage import ray_storage
from dakpn import storage
from dakpn.config import PackConfig
from dakpn.datasets import manifest
from dakpn.errors import StorageError
from dakpn.storage import retries
from tests.command import environment
from tests.faults import Fault, FaultyProxy, faulty_proxy
from tests.s3_server import chosen_server
from tests.scenes import ROWS_PER_SHARD, Scenes, tiny_training
from workflows import pack, train

_numbers = count()
_DATA = bytes(range(256)) * 400


@pytest.fixture
def proxy(s3_server: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Between this process and the server; pauses between attempts are short."""
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.01)
    with faulty_proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def bucket(proxy: FaultyProxy) -> str:
    """The URI of a new bucket with one file in it."""
    name = f"faults-{next(_numbers)}"
    fsspec.filesystem("s3", endpoint_url=proxy.url).mkdir(name)
    storage.write_bytes(f"s3://{name}/in/a.bin", _DATA)
    return f"s3://{name}"


TRANSIENT = {
    "slow down": Fault(status=503, times=3),
    "too many requests": Fault(status=429, code="TooManyRequests", times=3),
    "internal error": Fault(status=500, code="InternalError", times=3),
    "bad gateway": Fault(status=502, code="BadGateway", times=3),
    "request timeout": Fault(methods="(?!HEAD).*", status=400, code="RequestTimeout", times=3),
    "cut before the answer's body": Fault(methods="GET|PUT", cut_after=0, times=3),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_every_operation_gets_through_what_lasts_a_moment(name: str, bucket: str, proxy: FaultyProxy) -> None:
    def trouble() -> None:
        fault = TRANSIENT[name]
        proxy.fail(Fault(fault.methods, status=fault.status, code=fault.code, times=3, cut_after=fault.cut_after))

    uri = f"{bucket}/in/a.bin"
    trouble()
    assert storage.read_bytes(uri) == _DATA
    trouble()
    storage.write_bytes(f"{bucket}/in/b.bin", _DATA[::-1])
    trouble()
    assert storage.list_files(f"{bucket}/in") == [uri, f"{bucket}/in/b.bin"]
    trouble()
    assert storage.exists(uri)
    trouble()
    with storage.open_input(uri) as file:
        file.seek(1000)
        trouble()
        assert file.read() == _DATA[1000:]
    trouble()
    storage.delete(uri)
    proxy.fail()
    assert storage.list_files(f"{bucket}/in") == [f"{bucket}/in/b.bin"]
    assert storage.read_bytes(f"{bucket}/in/b.bin") == _DATA[::-1]


@pytest.mark.parametrize("hidden", [False, True], ids=["length known", "length unknown"])
def test_a_cut_download_is_read_again_and_never_short(hidden: bool, bucket: str, proxy: FaultyProxy) -> None:
    uri = f"{bucket}/in/a.bin"
    proxy.fail(Fault("GET", r"a\.bin", times=2, cut_after=5000, hidden=hidden))
    assert storage.read_bytes(uri) == _DATA
    assert proxy.asked("GET", r"a\.bin") == 3
    proxy.fail(Fault("GET", r"a\.bin", times=2, cut_after=5000, hidden=hidden))
    with storage.open_input(uri) as file:
        assert file.read() == _DATA
    assert proxy.asked("GET", r"a\.bin") == 3
    proxy.fail(Fault("GET", r"a\.bin", cut_after=5000, hidden=hidden))
    with pytest.raises(StorageError, match=rf"cannot read {uri}: "):
        storage.read_bytes(uri)
    with pytest.raises(StorageError, match=rf"cannot read {uri}: "), storage.open_input(uri) as file:
        file.read()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("AccessDenied", 403, "access denied .*s3:PutObject"),
        ("SignatureDoesNotMatch", 403, "credentials rejected"),
        ("NoSuchBucket", 404, "the bucket does not exist"),
        ("RequestTimeTooSkewed", 403, "clock differs"),
    ],
)
def test_what_lasts_is_asked_once_and_named(code: str, status: int, said: str, bucket: str, proxy: FaultyProxy) -> None:
    proxy.fail(Fault("PUT", status=status, code=code))
    with pytest.raises(StorageError, match=said):
        storage.write_bytes(f"{bucket}/x", b"x")
    assert len(proxy.requests) == 1


def test_attempts_are_bounded_in_number_and_in_time(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "4")
    proxy.fail(Fault(status=503))
    with pytest.raises(StorageError, match=r"kept failing \(SlowDown"):
        storage.write_bytes(f"{bucket}/x", b"x")
    assert len(proxy.requests) == 4

    options = tmp_path / "storage.yaml"
    options.write_text("max_retry_s: 1.0\n")
    monkeypatch.setenv("DAKPN_STORAGE_OPTIONS", str(options))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "20")
    monkeypatch.setattr(retries, "_FIRST_PAUSE_S", 0.4)
    proxy.fail(Fault(status=503))
    start = time.monotonic()
    with pytest.raises(StorageError, match="kept failing"):
        storage.write_bytes(f"{bucket}/x", b"x")
    assert time.monotonic() - start < 3
    assert 1 < len(proxy.requests) < 20


def test_a_server_that_is_silent_is_left_in_time(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = tmp_path / "storage.yaml"
    options.write_text("read_timeout_s: 0.5\n")
    monkeypatch.setenv("DAKPN_STORAGE_OPTIONS", str(options))
    proxy.fail(Fault("GET", delay_s=3, times=1))
    start = time.monotonic()
    assert storage.read_bytes(f"{bucket}/in/a.bin") == _DATA
    assert 0.4 < time.monotonic() - start < 2.5


def test_retries_are_logged_once_a_minute(
    bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "_log", retries._RetryLog())
    with caplog.at_level(logging.INFO, logger="dakpn.storage"):
        for _ in range(3):
            proxy.fail(Fault(status=503, times=2))
            storage.read_bytes(f"{bucket}/in/a.bin")
    lines = [record for record in caplog.records if record.name.startswith("dakpn.storage")]
    assert [record.levelno for record in lines] == [logging.INFO]
    assert f"read {bucket}/in/a.bin" in lines[0].getMessage()


def test_preflight_passes_and_leaves_nothing(bucket: str, proxy: FaultyProxy) -> None:
    storage.preflight(f"{bucket}/out", write=True)
    storage.preflight(f"{bucket}/in", write=False)
    storage.preflight(f"{bucket}/nothing/there/yet", write=False)
    assert not storage.exists(f"{bucket}/out")
    proxy.fail(Fault(status=503, times=2))
    storage.preflight(bucket, write=True)
    assert storage.list_folders(bucket) == [f"{bucket}/in"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("PUT", status=403, code="AccessDenied"), "s3:PutObject"),
        (Fault("GET|HEAD", r"preflight-\w+$", status=403, code="AccessDenied"), "s3:GetObject"),
        (Fault("GET", "list-type", status=403, code="AccessDenied"), "s3:ListBucket"),
        (Fault("DELETE", status=403, code="AccessDenied"), "s3:DeleteObject"),
        (Fault(status=403, code="RequestTimeTooSkewed"), r"clock differs .*set the clock"),
        (Fault(status=403, code="InvalidAccessKeyId"), "credentials rejected"),
        (Fault(status=400, code="ExpiredToken"), "expired"),
        (Fault(status=400, code="AuthorizationHeaderMalformed"), "another region.*AWS_DEFAULT_REGION"),
        (Fault(status=503), r"kept failing \(SlowDown"),
    ],
)
def test_preflight_names_what_is_wrong(fault: Fault, said: str, bucket: str, proxy: FaultyProxy) -> None:
    proxy.fail(fault)
    with pytest.raises(StorageError, match=said) as caught:
        storage.preflight(f"{bucket}/out", write=True)
    assert "\n" not in str(caught.value)
    refused_deletion = fault.methods == "DELETE"
    proxy.fail()
    assert storage.exists(f"{bucket}/out") == refused_deletion


def test_preflight_finds_a_missing_bucket_that_exists_takes_for_an_empty_folder(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage.list_files("s3://no-such-bucket-here/out") == []
    for write in (True, False):
        with pytest.raises(StorageError, match="the bucket does not exist"):
            storage.preflight("s3://no-such-bucket-here/out", write=write)
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"].replace("http:", "https:"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(StorageError, match="no trusted TLS connection"):
        storage.preflight(f"{bucket}/out", write=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9.*check AWS_ENDPOINT_URL"):
        storage.preflight(f"{bucket}/out", write=True)


def test_a_dataset_is_packed_through_a_bad_hour(bucket: str, proxy: FaultyProxy, scenes: Scenes) -> None:
    proxy.fail(
        Fault("PUT", times=4, status=503),
        Fault("GET", "list-type", times=3, status=500, code="InternalError"),
        Fault("HEAD", times=3, status=503),
        Fault("PUT", times=1, cut_after=0),
    )
    index = pack.main(
        PackConfig(
            source=str(scenes.source),
            output=f"{bucket}/packed",
            dataset="camvid",
            rows_per_shard=ROWS_PER_SHARD,
            labels=True,
        )
    )
    local = manifest.read_index(scenes.synthetic)
    assert [shard.sha256 for shard in index.shards] == [shard.sha256 for shard in local.shards]


def test_a_bucket_that_disappears_in_mid_job_is_named_and_a_rerun_finishes(
    bucket: str, proxy: FaultyProxy, scenes: Scenes
) -> None:
    out = f"{bucket}/packed"
    packing = PackConfig(
        source=str(scenes.source), output=out, dataset="camvid", rows_per_shard=ROWS_PER_SHARD, labels=True
    )
    for writes in (3, 6, 9):
        proxy.fail(Fault("PUT", times=writes), Fault(status=404, code="NoSuchBucket"))
        with pytest.raises(StorageError, match=rf"{out}.*the bucket does not exist.*create it"):
            pack.main(packing)
        proxy.fail()
        assert not manifest.is_complete(out)
    index = pack.main(packing)
    local = manifest.read_index(scenes.synthetic)
    assert [shard.sha256 for shard in index.shards] == [shard.sha256 for shard in local.shards]


_SCRIPT = """
import logging, sys, threading
logging.basicConfig(level=logging.DEBUG)
for noisy in ("botocore", "aiobotocore", "asyncio"): logging.getLogger(noisy).setLevel(logging.INFO)
from dakpn import storage
from dakpn.errors import StorageError
for write in (True, False):
    try:
        storage.preflight(sys.argv[1], write=write)
        print("passed")
    except StorageError as error:
        print(error)
if len(sys.argv) > 2:
    keep = storage.open_input(sys.argv[2]); keep.__enter__()
    threading.Thread(target=storage.read_bytes, args=[sys.argv[2]], daemon=True).start()
"""


def _in_a_process(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=40, check=True)


@pytest.mark.parametrize("case", ["good", "rejected", "unreachable", "missing", "throttled"])
def test_no_credential_is_in_what_preflight_says_or_writes(case: str, bucket: str, proxy: FaultyProxy) -> None:
    canaries = {"AWS_ACCESS_KEY_ID": "CANARYKEY12345", "AWS_SECRET_ACCESS_KEY": "canary/secret+98765"}
    env = {} if case in ("good", "throttled") else dict(canaries)
    if case == "unreachable":
        env |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "2"}
    if case == "throttled":
        proxy.fail(Fault(status=503, times=10**6))
    place = "s3://no-such-bucket-here" if case == "missing" else f"{bucket}/out"
    done = _in_a_process(place, **env, **({"AWS_MAX_ATTEMPTS": "2"} if case == "throttled" else {}))
    secrets = [*canaries.values(), os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "canary%2F"]
    said = done.stdout + done.stderr
    assert ("passed" in said) == (case == "good")
    assert not [secret for secret in secrets if secret in said]
    assert not any("Signature=" in path or "Credential" in path for _, path in proxy.requests)


def test_a_process_with_open_connections_ends(bucket: str, proxy: FaultyProxy) -> None:
    proxy.fail(Fault("GET", r"a\.bin", delay_s=60))
    start = time.monotonic()
    assert "passed" in _in_a_process(f"{bucket}/out", f"{bucket}/in/a.bin").stdout
    assert time.monotonic() - start < 20


def test_records_of_ray_need_neither_folder_markers_nor_the_bucket(bucket: str, proxy: FaultyProxy) -> None:
    path, files = ray_storage(f"{bucket}/run/ray")
    assert files is not None
    proxy.fail()
    files.create_dir(f"{path}/ray_train")
    assert proxy.requests == []
    with files.open_output_stream(f"{path}/ray_train/marker") as file:
        file.write(b"here")
    assert files.get_file_info(f"{path}/ray_train/marker").is_file
    assert pickle.loads(pickle.dumps(files)).open_input_stream(f"{path}/ray_train/marker").read() == b"here"  # noqa: S301 - ours
    assert proxy.asked("PUT") == 1
    assert proxy.asked("HEAD", r"^/[^/]+/?$") == 0


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_training_on_ray_keeps_its_run_where_folder_markers_are_refused(
    bucket: str, proxy: FaultyProxy, scenes: Scenes
) -> None:
    proxy.fail(Fault("PUT", r"/(\?.*)?$", status=500, code="InternalError"))
    train.main(tiny_training(f"{bucket}/run", scenes, workers=1))
    assert storage.exists(f"{bucket}/run/weights/model.safetensors")
    assert proxy.asked("PUT", r"/run/ray/ray_train/\.?\w") > 0
    assert proxy.asked("PUT", r"/(\?.*)?$") == 0
