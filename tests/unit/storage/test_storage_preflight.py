import errno
import os
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from dakpn import storage
from dakpn.errors import StorageError


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder_that_can_be_written_passes_and_nothing_is_left(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "there").mkdir()
    for folder in ("there", "not/there/yet"):
        for write in (True, False):
            storage.preflight(f"{prefix}{tmp_path}/{folder}", write=write)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for uri in (f"{tmp_path}/a", f"{tmp_path}/a/below"):
        with pytest.raises(StorageError, match=rf"cannot use {uri}: {tmp_path}/a is a file, expected a folder"):
            storage.preflight(uri, write=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match=r"access denied .*check its permissions"):
            storage.preflight(f"{tmp_path}/out", write=True)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device; .*the disk is full"),
        (errno.EROFS, "Read-only file system; choose a path that can be written"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EACCES, "access denied"),
    ],
)
def test_what_the_disk_refuses_is_named(
    number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=said):
        storage.preflight(f"{tmp_path}/out", write=True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_gives_other_bytes_back_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", lambda *_, **__: b"stale")
    with pytest.raises(StorageError, match="reads back as 5 other bytes"):
        storage.preflight(str(tmp_path), write=True)
    assert list(tmp_path.iterdir()) == []


def test_no_credentials_at_all_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()  # a client that another test made has its credentials still
    with pytest.raises(StorageError, match=r"no credentials found .*set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        storage.preflight("s3://bucket/out", write=True)
