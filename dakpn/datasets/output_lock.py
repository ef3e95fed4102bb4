"""Take an output folder for a job: nothing of another job or of the user is mixed in or overwritten.

Whose folder it is: that of the translation that started last and is still at work, or was. Two jobs with the same
input, weights and settings write the same bytes under the same names, and share a folder without harm. Of two that
differ, the one that starts later takes the folder, and the other one stops before its next write.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.datasets.formats import FORMATS, FormatName
from dakpn.errors import DataError, UsageError

_ADVICE = "write to a new folder, or delete this one first"


def refuse_other_shards(output_uri: str, format: FormatName, names: Collection[str]) -> None:  # noqa: A002
    """Keep a job from mixing its shards with those of another, which a reader could not tell apart.

    Args:
        output_uri: Folder to write.
        format: Format of the shards to be written.
        names: Names of the shards to be written.

    Raises:
        UsageError: The folder holds other shards, or shards of another format.
        StorageError: The folder cannot be listed.
    """
    for other, shard_format in FORMATS.items():
        for name in shard_format.names(output_uri):
            if other != format or name not in names:
                raise UsageError(
                    f"{output_uri} already holds {name}{shard_format.suffix}, expected none but the {len(names)} "
                    f"shards of this job as {format}; {_ADVICE}"
                )


def claim_folder(output_uri: str, format: FormatName) -> None:  # noqa: A002 - the word that says it
    """Make sure that a plain folder of images overwrites no files but its own; the other formats cannot.

    Call it before the first shard is written. It leaves a file, so that a job that was stopped knows its folder.

    Raises:
        UsageError: The folder holds files that no job put there: the originals, perhaps.
        StorageError: The folder cannot be listed or written.
    """
    if format != "folder" or storage.exists(storage.join(output_uri, manifest.FOLDER)):
        return
    if there := [*storage.list_folders(output_uri), *storage.list_files(output_uri)]:
        raise UsageError(
            f"{output_uri} already holds {there[0].rpartition('/')[2]}, expected an empty folder: the images and "
            f"labels to be written could overwrite it; {_ADVICE}"
        )
    storage.write_json(storage.join(output_uri, manifest.FOLDER, "format.json"), {"format": format})


@dataclass(frozen=True)
class JobClaim:
    """The digest of all that a job's output depends on, and the URI of its input."""

    digest: str
    input: str

    @classmethod
    def of(cls, input_uri: str, depends_on: Mapping[str, Any]) -> "JobClaim":
        """Return the claim of a job whose output depends on these JSON values."""
        content = json.dumps({"input": input_uri, **depends_on}, sort_keys=True)
        return cls("sha256:" + hashlib.sha256(content.encode()).hexdigest(), input_uri)

    def take(self, output_uri: str) -> None:
        """Write the claim into the folder, over that of any other job. Raises `StorageError`."""
        storage.write_json(_claim_uri(output_uri), {"digest": self.digest, "input": self.input})

    def require(self, output_uri: str) -> None:
        """Make sure that no other job took the folder since.

        Raises:
            UsageError: Another one did.
            StorageError: The claim cannot be read.
        """
        if read_claim(output_uri) != self:
            raise UsageError(
                f"another job with other weights or settings, or of another version, writes to {output_uri} since; let "
                "that one end, or give each an output of its own"
            )


def read_claim(output_uri: str) -> JobClaim | None:
    """Return the claim on a folder; None if there is none, or a damaged one. Raises `StorageError`."""
    uri = _claim_uri(output_uri)
    if not storage.exists(uri):
        return None
    try:
        values = storage.read_json(uri)
        return JobClaim(str(values["digest"]), str(values["input"]))
    except (DataError, KeyError, TypeError):
        return None


def _claim_uri(output_uri: str) -> str:
    return storage.join(output_uri, manifest.FOLDER, "job.json")
