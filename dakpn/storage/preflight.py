"""Find out before any work whether a storage lets a job do what it will have to."""

import os
import secrets
from pathlib import Path
from typing import Any, cast

from dakpn.errors import StorageError
from dakpn.storage.errors import explained
from dakpn.storage.location import is_local, join, locate
from dakpn.storage.operations import delete, read_bytes, write_bytes
from dakpn.storage.retries import retried

_PROBE = ".dakpn-preflight-"


def preflight(uri: str, *, write: bool) -> None:
    """Make sure that the folder `uri` can be used, by doing it: nothing is left behind.

    With `write` a file of a few bytes and a name of its own is written, read back, listed and deleted: in the folder
    on S3; locally in the nearest folder above that exists, which will hold those to be made. Without, the folder is
    listed; one that does not exist is no error, but a bucket that does not is.

    Args:
        uri: A folder that a job will write or read.
        write: Whether it will write.

    Raises:
        StorageError: One sentence that names what is wrong: the endpoint, TLS, credentials, bucket, clock, a
            permission, or the disk.
        ConfigError: The storage options do not fit.
    """
    files, path = locate(uri)
    if is_local(files):
        _check_local(uri, Path(path), write=write)
    elif write:
        _write_probe(uri)
    else:
        _listed(uri.rstrip("/") + "/")


def _check_local(uri: str, path: Path, *, write: bool) -> None:
    with explained("look up", uri):
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        is_folder = there.is_dir()
    if not is_folder:
        raise StorageError(f"cannot use {uri}: {there} is a file, expected a folder; choose another path")
    if write:
        _write_probe(str(there))
    elif not os.access(there, os.R_OK | os.X_OK):
        raise StorageError(f"cannot list {uri}: access denied; check its permissions")


def _write_probe(folder: str) -> None:
    token = secrets.token_hex(8)
    uri = join(folder, f"{_PROBE}{token}")
    data = token.encode()
    write_bytes(uri, data)
    try:
        if (found := read_bytes(uri)) != data:
            raise StorageError(
                f"{uri} reads back as {len(found)} other bytes than the {len(data)} written; the storage (or a cache "
                "before it) is not consistent: check the endpoint"
            )
        if not _listed(uri):
            raise StorageError(
                f"{uri} was written but is not listed; the storage is not consistent: check the endpoint"
            )
    except BaseException:
        _try_delete(uri)
        raise
    delete(uri)


def _listed(uri: str) -> bool:
    """Tell whether anything begins with `uri`; unlike `list_files`, in one request and not without the bucket."""
    with explained("list", uri):
        files, path = locate(uri)
        if is_local(files):
            return Path(path) in Path(path).parent.iterdir()
        bucket, _, key = path.partition("/")
        ask = {"Bucket": bucket, "Prefix": key.lstrip("/"), "MaxKeys": 1}
        return bool(retried(lambda: cast(Any, files).call_s3("list_objects_v2", **ask), f"list {uri}").get("Contents"))


def _try_delete(uri: str) -> None:
    """Delete the probe if that works; what went wrong before is what the user must know."""
    try:
        delete(uri)
    except StorageError:
        return
