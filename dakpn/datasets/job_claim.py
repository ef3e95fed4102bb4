"""Whose output folder this is: the translation that started last and is still at work, or was.

Two jobs with the same input, weights and settings write the same bytes under the same names, and share a folder without
harm. Of two that differ, the one that starts later takes the folder, and the other one stops before its next write.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.errors import DataError, UsageError


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
