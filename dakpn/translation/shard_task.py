"""A shard to be translated, and what came of it: what the driver of a job and its workers tell each other.

Nothing here loads torch: a driver plans and collects without it.
"""

from dataclasses import dataclass
from typing import TypedDict

from dakpn.datasets.formats import FormatName

RESULT_VERSION = 2
"""Version of the images that code makes of the same input, weights and settings. It is raised when a change moves
pixels: shards that another version made are made again, so that no dataset is a mixture."""


@dataclass(frozen=True)
class ShardTask:
    """One shard to be translated.

    Attributes:
        name: Of the input's shard, and of the output's.
        format: Of both, where the output holds images.
        rows, bytes: Of the input's shard, as its dataset's index has them.
        input_version: `storage.fingerprint` of the input's shard when the job was planned.
        fingerprint: Digest of all that the output's bytes depend on.
    """

    name: str
    format: FormatName
    rows: int
    bytes: int
    input_version: str
    fingerprint: str


class ShardResult(TypedDict):
    """What comes of a shard: its marker as JSON, or an error; a `fatal` error ends the job."""

    name: str
    marker: str | None
    error: str | None
    fatal: bool
    reasons: list[str]
