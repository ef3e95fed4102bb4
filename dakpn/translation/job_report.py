"""What the last run of a translation job did: OUT/_dakpn/report.json."""

from pydantic import BaseModel, ConfigDict, ValidationError

from dakpn import storage
from dakpn.datasets import manifest
from dakpn.errors import DataError
from dakpn.wording import counted


class ShardFailure(BaseModel):
    """A shard that is not done, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: str
    reason: str


class JobReport(BaseModel):
    """What one run did.

    Attributes:
        shards: Translated in this run.
        shards_before: Done by former runs.
        shards_left: Not done, whether they failed or were not asked for.
        images: Translated in this run.
        quarantined: Rows of the whole dataset in the quarantine, shard -> number.
        restarts: How often a shard was begun again because its worker was lost.
        seconds: Of the run.
        failures: Shards that failed.
        reasons: The first few for quarantined rows of this run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: int = 0
    shards_before: int = 0
    shards_left: int = 0
    images: int = 0
    quarantined: dict[str, int] = {}
    restarts: int = 0
    seconds: float = 0.0
    failures: list[ShardFailure] = []
    reasons: list[str] = []

    def __str__(self) -> str:
        """All that happened, in a line."""
        images, shards = counted(self.images, "image"), counted(self.shards, "shard")
        parts = [f"{images} in {shards} translated in {self.seconds:.0f} s"]
        if self.shards_before:
            parts.append(f"{counted(self.shards_before, 'shard was', 'shards were')} done before")
        if self.quarantined:
            bad, where = sum(self.quarantined.values()), counted(len(self.quarantined), "shard")
            parts.append(f"{counted(bad, 'image')} quarantined in {where}")
        if self.restarts:
            parts.append(f"{counted(self.restarts, 'shard')} begun again after a worker was lost")
        if self.failures:
            parts.append(f"{counted(len(self.failures), 'shard')} failed")
        if self.shards_left:
            parts.append(f"{counted(self.shards_left, 'shard')} left")
        return ", ".join(parts)


def write_report(output: str, report: JobReport) -> None:
    """Write the report of a run, over that of the one before. Raises `StorageError`."""
    storage.write_json(_uri(output), report.model_dump(mode="json"))


def read_report(output: str) -> JobReport:
    """Return the report of the last run; an empty one if there was none, or it is damaged. Raises `StorageError`."""
    uri = _uri(output)
    if not storage.exists(uri):
        return JobReport()
    try:
        return JobReport.model_validate(storage.read_json(uri))
    except (ValidationError, DataError):
        return JobReport()


def _uri(output: str) -> str:
    return storage.join(output, manifest.FOLDER, "report.json")
