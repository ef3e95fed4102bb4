"""Files by URI: plain paths, `file://` and `s3://`.

Credentials come from the environment (or the platform's role) alone, never from a URI; `AWS_ENDPOINT_URL`
names an S3-compatible server. What is written is there whole or not at all: locally by a temporary file in
the same folder, on S3 by one PUT. Nothing is moved, and keys are deleted one at a time: S3 has no rename, and
not all of its servers have the bulk delete.
"""

import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.spec import AbstractFileSystem

from dakpn.errors import DataError, StorageError

_LARGEST_PUT = 5 * 2**30
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def join(uri: str, *parts: str) -> str:
    """Return the URI of something below the folder `uri`, with one "/" between the parts."""
    below = "/".join(part.strip("/") for part in parts)
    return below if not uri else f"{uri.rstrip('/')}/{below}"


def exists(uri: str) -> bool:
    """Tell whether a file, or a folder with something in it, is at `uri`.

    Raises:
        StorageError: The storage gave no answer.
    """
    return _info(uri, "look up") is not None


def read_bytes(uri: str) -> bytes:
    """Return the content of a file.

    Raises:
        StorageError: It does not exist or cannot be read.
    """
    with _explained("read", uri):
        files, path = _locate(uri)
        return cast(bytes, files.cat_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Write a whole file, replacing what was there; a reader sees the old content or the new, never a part.

    Missing local folders are made.

    Raises:
        StorageError: It cannot be written, or has more than 5 GiB on S3, the most that one PUT takes.
    """
    with _explained("write", uri):
        files, path = _locate(uri)
        if _is_local(files):
            _write_local(Path(path), data)
        elif len(data) >= _LARGEST_PUT:
            raise StorageError(f"cannot write {uri}: {len(data)} bytes are too many for S3; use smaller shards")
        else:
            files.pipe_file(path, data, chunksize=_LARGEST_PUT)


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Return the URIs of the files directly in the folder `uri` whose names end in `suffix`, sorted.

    Hidden files (leading dot), among them the temporary ones of `write_bytes`, are left out. A folder that
    does not exist has no files.

    Raises:
        StorageError: The folder cannot be listed.
    """
    with _explained("list", uri):
        files, path = _locate(uri)
        try:
            entries = files.ls(path, detail=True)
        except FileNotFoundError:
            return []
    below = path.rstrip("/") + "/"
    # A file asked for as a folder lists itself, and S3 may list the folder's own empty key.
    paths = [entry["name"] for entry in entries if entry["type"] == "file"]
    names = sorted(path.removeprefix(below) for path in paths if path.startswith(below) and path != below)
    return [join(uri, name) for name in names if name.endswith(suffix) and not name.startswith(".")]


def list_folders(uri: str) -> list[str]:
    """Return the URIs of the folders directly in the folder `uri`, sorted; none if it does not exist.

    Raises:
        StorageError: The folder cannot be listed.
    """
    with _explained("list", uri):
        files, path = _locate(uri)
        try:
            entries = files.ls(path, detail=True)
        except FileNotFoundError:
            return []
    names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]
    return [join(uri, name) for name in sorted(names)]


def absolute(uri: str) -> str:
    """Return `uri` with a local path made absolute, for readers that run in another folder."""
    files, path = _locate(uri)
    return path if _is_local(files) else uri


def delete(uri: str) -> None:
    """Delete one file; it is no error if there is none.

    Raises:
        StorageError: It cannot be deleted.
    """
    with _explained("delete", uri):
        files, path = _locate(uri)
        try:
            files.rm_file(path)
        except FileNotFoundError:
            return


def fingerprint(uri: str) -> str:
    """Return a string that changes when the file does: "size-mtime_ns" locally, the ETag on S3 (or size and time).

    Raises:
        StorageError: The file does not exist or cannot be looked up.
    """
    with _explained("look up", uri):
        files, path = _locate(uri)
        if _is_local(files):
            status = Path(path).stat()
            return f"{status.st_size}-{status.st_mtime_ns}"
        entry = files.info(path)
        # Some S3-compatible servers keep no ETags; an empty one would make every version look alike.
        return entry.get("ETag", "").strip('"') or f"{entry['size']}-{entry['LastModified']:%Y%m%dT%H%M%S.%f}"


@contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading and seeking, to be used in a `with` statement.

    Keep the block to reading that file: an `OSError` raised in it is reported as one of this URI.

    Raises:
        StorageError: The file does not exist, or cannot be opened or read on.
    """
    with _explained("read", uri):
        files, path = _locate(uri)
        with files.open(path, "rb") as file:
            yield cast(BinaryIO, file)


def read_json(uri: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        StorageError: It does not exist or cannot be read.
        DataError: It is not JSON.
    """
    data = read_bytes(uri)
    try:
        return json.loads(data)
    except ValueError as error:
        raise DataError(f"{uri} is damaged ({error}); expected JSON: run the job again") from error


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file with sorted keys, so that equal values give equal bytes.

    Raises:
        StorageError: It cannot be written.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(uri, (text + "\n").encode())


def _locate(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URI, and the path that it goes by there."""
    scheme, separator, path = uri.partition("://")
    if not separator or scheme == "file":
        return fsspec.filesystem("file"), str(Path(path if separator else uri).absolute())
    if scheme != "s3":
        raise StorageError(f"cannot use {scheme}:// URIs; expected a plain path, file:// or s3://")
    bucket = path.partition("/")[0]
    if "@" in bucket:  # the message must not repeat it
        raise StorageError("an s3:// URI holds credentials; take them out and set AWS_ACCESS_KEY_ID and so on")
    if not bucket:
        raise StorageError(f"{uri} names no bucket; expected s3://BUCKET/PATH")
    # A listing kept from before would hide what other workers wrote since.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
    return fsspec.filesystem("s3", endpoint_url=endpoint, use_listings_cache=False), path


def _is_local(files: AbstractFileSystem) -> bool:
    return "file" in files.protocol


def _info(uri: str, action: str) -> dict[str, Any] | None:
    with _explained(action, uri):
        files, path = _locate(uri)
        try:
            return files.info(path)
        except FileNotFoundError:
            return None


def _write_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(action: str, uri: str) -> Iterator[None]:
    """Turn the errors of a storage into a `StorageError` of one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"cannot {action} {uri}: it does not exist; check the path or bucket") from error
    except PermissionError as error:
        raise StorageError(
            f"cannot {action} {uri}: access denied ({_reason(error)}); check its permissions and, for s3://, "
            "the credentials in the environment"
        ) from error
    except (OSError, *_botocore_errors()) as error:
        remote = "AWS_ENDPOINT_URL, the network and the credentials in the environment"
        advice = remote if uri.startswith("s3://") else "the path and the free space"
        raise StorageError(f"cannot {action} {uri}: {_reason(error)}; check {advice}") from error


def _botocore_errors() -> tuple[type[Exception], ...]:
    """Return botocore's error types if anything has loaded it: local work should not have to."""
    module = sys.modules.get("botocore.exceptions")
    return (module.BotoCoreError, module.ClientError) if module else ()


def _reason(error: Exception) -> str:
    """Return what an error says, on one line and without any credential."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return re.sub(r"//[^/@\s]+@", "//***@", " ".join(text.split())) or type(error).__name__
