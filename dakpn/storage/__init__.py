"""Files by URI: plain paths, `file://` and `s3://`.

Credentials come from the environment (or the platform's role) alone, never from a URI or a file of options;
`AWS_ENDPOINT_URL` names an S3-compatible server, and `DAKPN_STORAGE_OPTIONS` a YAML file of what else it needs
(`StorageOptions`). What is written is there whole or not at all: locally by a temporary file in the same folder, on S3
by one PUT. Nothing is moved, and keys are deleted one at a time: S3 has no rename, and not all of its servers have the
bulk delete. What a server or the network fails at for a moment is tried again, within bounds.
"""

import json
from typing import Any

from dakpn.errors import DataError
from dakpn.storage.listing import ListedFile, list_tree
from dakpn.storage.local_files import delete_leftovers
from dakpn.storage.location import absolute, join
from dakpn.storage.operations import (
    delete,
    delete_folder,
    exists,
    file_size,
    fingerprint,
    fingerprints,
    list_files,
    list_folders,
    open_input,
    open_output,
    read_bytes,
    write_bytes,
)
from dakpn.storage.options import StorageOptions, load_options
from dakpn.storage.preflight import preflight

__all__ = [
    "ListedFile",
    "StorageOptions",
    "absolute",
    "delete",
    "delete_folder",
    "delete_leftovers",
    "exists",
    "file_size",
    "fingerprint",
    "fingerprints",
    "join",
    "list_files",
    "list_folders",
    "list_tree",
    "load_options",
    "open_input",
    "open_output",
    "preflight",
    "read_bytes",
    "read_json",
    "write_bytes",
    "write_json",
]


def read_json(uri: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        StorageError: It does not exist or cannot be read.
        DataError: It is not JSON.
    """
    data = read_bytes(uri)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{uri} is damaged ({error}); expected JSON: run the job again") from error


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file with sorted keys, so that equal values give equal bytes.

    Raises:
        StorageError: It cannot be written.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # A file name may hold bytes that are no text; escaped as JSON does it, they are read back the same.
    write_bytes(uri, (text + "\n").encode(errors="backslashreplace"))
