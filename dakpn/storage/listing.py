"""All that lies below a folder of a bucket, by listing it once."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from fsspec.spec import AbstractFileSystem

from dakpn.errors import StorageError
from dakpn.storage.errors import explained
from dakpn.storage.location import locate
from dakpn.storage.operations import remote_version
from dakpn.storage.retries import retried

MOST_FILES = 10_000_000
"""Files of one listing, which takes some gigabytes of memory then."""


class ListedFile(NamedTuple):
    """What a listing tells of a file: its size in bytes, and its `fingerprint`."""

    size: int
    version: str


def list_tree(uri: str) -> dict[str, ListedFile]:
    """Return name below the folder `uri` of S3 -> file, for all files below it: one request a thousand.

    Names are the keys as they are, whatever they hold ("..", "//", control characters): who makes paths of them has to
    look first. Keys that end in "/", which stand for empty folders, are left out. A folder without files has none.

    Raises:
        StorageError: It cannot be listed, or has more than `MOST_FILES` files.
    """
    with explained("list", uri):
        files, path = locate(uri)
        bucket, _, key = path.partition("/")
        prefix = f"{key.strip('/')}/" if key.strip("/") else ""
        found: dict[str, ListedFile] = {}
        for entry in _entries(files, bucket, prefix, uri):
            name = entry["Key"].removeprefix(prefix)
            if name and not name.endswith("/"):
                size = int(entry["Size"])
                found[name] = ListedFile(size, remote_version({**entry, "size": size}))
            if len(found) > MOST_FILES:
                raise StorageError(f"{uri} holds more than {MOST_FILES} files; name a folder further down")
        return found


def _entries(files: AbstractFileSystem, bucket: str, prefix: str, uri: str) -> Iterator[dict[str, Any]]:
    """Yield what S3 says of each key that begins with the prefix, page by page; one that fails is asked for again."""
    ask: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = retried(lambda: cast(Any, files).call_s3("list_objects_v2", **ask), f"list {uri}")
        yield from page.get("Contents", ())
        if not page.get("IsTruncated"):
            return
        token = page.get("NextContinuationToken")
        if not token or token == ask.get("ContinuationToken"):
            raise StorageError(f"cannot list {uri}: the server's listing does not go on; check AWS_ENDPOINT_URL")
        ask["ContinuationToken"] = token
