"""What a bucket's owner or network decides: users who may only read, clocks that differ, buckets in host names."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import boto3
import botocore.auth
import pytest

from dakpn import storage
from dakpn.errors import StorageError
from dakpn.storage import errors
from tests.command import assert_failed, dakpn
from tests.s3_server import KEYS, SERVERS, s3_server
from tests.scenes import Scenes

_MAY_READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}],
}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that knows users and virtual hosts, with one file in a bucket."""
    if SERVERS["moto"].path is None:
        pytest.skip(f"moto_server comes with {SERVERS['moto'].source}; it is not installed here")
    with s3_server(tmp_path_factory.mktemp("moto"), SERVERS["moto"]) as address:
        client = boto3.client("s3", endpoint_url=f"http://{address}", **_keys(KEYS))
        client.create_bucket(Bucket="data")
        client.put_object(Bucket="data", Key="in/a", Body=b"abc")
        yield address


def _keys(names: dict[str, str]) -> dict[str, str]:
    region = {"region_name": KEYS["AWS_DEFAULT_REGION"]}
    return {name.lower(): value for name, value in names.items() if "KEY" in name} | region


def test_a_user_who_may_only_read_is_told_before_the_work(
    moto: str, scenes: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = boto3.client("iam", endpoint_url=f"http://{moto}", **_keys(KEYS))
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=json.dumps(_MAY_READ))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    names = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    for name, value in {"AWS_ENDPOINT_URL": f"http://{moto}", **names}.items():
        monkeypatch.setenv(name, value)
    _check_users_after(moto, 0)
    try:
        storage.preflight("s3://data/in", write=False)
        assert storage.read_bytes("s3://data/in/a") == b"abc"
        assert_failed(dakpn("pack", scenes.source, "s3://data/out"), 1, "s3://data/out", "ask for s3:PutObject")
        with pytest.raises(StorageError, match=r"cannot delete s3://data/in/a: access denied .* s3:DeleteObject"):
            storage.delete("s3://data/in/a")
    finally:
        _check_users_after(moto, 1_000_000)


def _check_users_after(server: str, requests: int) -> None:
    url, plain = f"http://{server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    with urllib.request.urlopen(urllib.request.Request(url, str(requests).encode(), plain)):
        pass


def test_a_bucket_may_be_asked_by_its_own_host(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of the bucket's name, which this test stands for DNS to know."""
    asked, find = set(), socket.getaddrinfo

    def known(host: str, *args: object, **options: object) -> object:
        asked.add(host)
        return find("127.0.0.1" if host == "data.localhost" else host, *args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    options = tmp_path / "options.yaml"
    options.write_text(f"endpoint_url: http://localhost:{moto.rpartition(':')[2]}\naddressing_style: virtual\n")
    for name, value in {"DAKPN_STORAGE_OPTIONS": str(options), **KEYS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    storage.preflight("s3://data/by-host", write=True)
    assert storage.read_bytes("s3://data/in/a") == b"abc"
    assert asked == {"data.localhost"}
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"other\.localhost.*addressing_style=virtual .* set it to path"):
        storage.read_bytes("s3://other/in/a")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_differs_is_said_so(bucket: str, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that looks at it, whether it can say so, or answers a HEAD, which has no words."""
    storage.write_bytes(f"{bucket}/a", b"abc")
    right = {botocore.auth: botocore.auth.get_current_datetime, errors: errors._now}
    for module, name in ((botocore.auth, "get_current_datetime"), (errors, "_now")):
        shifted = lambda *args, now=right[module]: now(*args) + timedelta(hours=hours)  # noqa: E731
        monkeypatch.setattr(module, name, shifted)
    for act in (storage.read_bytes, storage.exists, storage.list_files, lambda uri: storage.write_bytes(uri, b"")):
        with pytest.raises(StorageError, match=rf"{bucket}/a: this machine's clock differs .*; set the clock"):
            act(f"{bucket}/a")
