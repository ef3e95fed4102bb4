"""From a URI to the file system that serves it and the path there."""

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
from fsspec.spec import AbstractFileSystem

from dakpn.errors import StorageError
from dakpn.storage.options import StorageOptions, load_options

_CONNECTIONS = 32  # botocore's 10 are fewer than the threads that read or write at a time


def join(uri: str, *parts: str) -> str:
    """Return the URI of something below the folder `uri`, with one "/" between the parts."""
    below = "/".join(part.strip("/") for part in parts)
    return below if not uri else f"{uri.rstrip('/')}/{below}"


def absolute(uri: str) -> str:
    """Return `uri` with a local path made absolute, for readers that run in another folder."""
    files, path = locate(uri)
    return path if is_local(files) else uri


def locate(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URI, and the path that it goes by there: of file:// without percent escapes.

    Raises:
        StorageError: A scheme that is not known, or a URI without bucket or with credentials.
        ConfigError: The storage options do not fit.
    """
    scheme, separator, path = uri.partition("://")
    if not separator or scheme == "file":
        return _local_files(), str(Path(unquote(path) if separator else uri).absolute())
    if scheme != "s3":
        raise StorageError(f"cannot use {scheme}:// URIs; expected a plain path, file:// or s3://")
    bucket = path.partition("/")[0]
    if "@" in bucket:  # the message must not repeat it
        raise StorageError("an s3:// URI holds credentials; take them out and set AWS_ACCESS_KEY_ID and so on")
    if not bucket:
        raise StorageError(f"{uri} names no bucket; expected s3://BUCKET/PATH")
    files = fsspec.filesystem("s3", **_arguments(load_options()))
    files.retries = 1  # its own, and botocore's below, would multiply those of `retries`
    return files, path


def is_local(files: AbstractFileSystem) -> bool:
    """Tell whether a file system is this machine's."""
    return "file" in files.protocol


@cache
def _local_files() -> AbstractFileSystem:
    return fsspec.filesystem("file")


def _arguments(options: StorageOptions) -> dict[str, Any]:
    """What s3fs takes. A connection is kept per distinct set of them."""
    config: dict[str, Any] = {
        "max_pool_connections": _CONNECTIONS,
        "connect_timeout": options.connect_timeout_s,
        "read_timeout": options.read_timeout_s,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "request_checksum_calculation": options.checksums,
        "response_checksum_validation": options.checksums,
    }
    if options.addressing_style:
        config["s3"] = {"addressing_style": options.addressing_style}
    client: dict[str, Any] = {}
    if options.region:
        client["region_name"] = options.region
    if not options.verify_tls:
        client["verify"] = False
    elif options.ca_bundle:
        client["verify"] = options.ca_bundle
    # A listing kept from before would hide what other workers wrote since.
    return {
        "endpoint_url": options.endpoint_url,
        "config_kwargs": config,
        "client_kwargs": client,
        "use_listings_cache": False,
    }
