"""Submission of one job for one run: a second submission attaches to the first instead of doubling the work."""

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails, JobStatus

from cluster.job_client import JobClient
from dakpn.errors import ClusterError, UsageError

_NOT_SHIPPED = (
    *("/.git", "/data", "/runs", "/build", "/dist", "venv", ".venv*", "__pycache__", "*.egg-info"),
    *(".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"),
    *("*.parquet", "*.tar", "*.safetensors"),
    *(".env", ".env.*", "*.pem", "*.key", ".aws", ".ssh", ".ray"),
)
"""In .gitignore's syntax: what is large, made anew, or a credential. `.gitignore` itself is heeded, too."""
STOP_WAIT_S = 50
"""Between SIGTERM and SIGKILL: a training writes a checkpoint meanwhile. Ray's default is 3."""


@dataclass(frozen=True)
class Job:
    """A job to be submitted.

    Attributes:
        name: the submission id of the first attempt; the same for the same command and run.
        entrypoint: shell command.
        working_dir: folder that is copied to the cluster, where the entrypoint starts.
    """

    name: str
    entrypoint: str
    working_dir: Path


class Outcome(Enum):
    """Result of a submission."""

    STARTED = "started"
    ATTACHED = "attached"
    DONE_BEFORE = "done before"


def job_name(command: str, target: str) -> str:
    """Name of the job that makes `target`, the URI of a run or dataset, by `command`."""
    target = target.rstrip("/")
    slug = re.sub(r"[^a-z0-9]+", "-", target.rpartition("/")[2].lower()).strip("-")[:20].strip("-")
    digest = hashlib.sha256(f"{command}\n{target}".encode()).hexdigest()[:8]
    return "-".join(part for part in ("dakpn", command, slug, digest) if part)


def submit(client: JobClient, job: Job, again: bool = False) -> tuple[str, Outcome]:
    """Start the job, unless it is at work or done; a failed or stopped one is tried again under a counted name.

    Args:
        client: Client of the cluster.
        job: to be started.
        again: start it even if it is done.

    Returns:
        The submission id, and the result of the submission.

    Raises:
        UsageError: A job with other settings is at work on the same run.
        ClusterError: The cluster refuses the job.
    """
    attempts = client.attempts(job.name)
    if attempts and (outcome := _as_it_stands(attempts[-1][1], job, again)):
        return str(attempts[-1][1].submission_id), outcome
    number = attempts[-1][0] + 1 if attempts else 1
    job_id = job.name if number == 1 else f"{job.name}-{number}"
    try:
        client.submit(job_id, job.entrypoint, _runtime_env(job))
    except ClusterError:
        other = dict(client.attempts(job.name)).get(number)  # somebody submitted the same at the same time
        outcome = _as_it_stands(other, job, again=False) if other else None
        if outcome is None:
            raise
        return job_id, outcome
    return job_id, Outcome.STARTED


def _as_it_stands(last: JobDetails, job: Job, again: bool) -> Outcome | None:
    """What a submission comes to while `last` is the latest attempt; None if another one is due."""
    same = last.entrypoint == job.entrypoint
    if not last.status.is_terminal():
        if not same:
            raise UsageError(
                f"job {last.submission_id} is at work on the same run with other settings ({last.entrypoint}); "
                f"`dakpn jobs stop {last.submission_id}` ends it, or choose another run"
            )
        return Outcome.ATTACHED
    if last.status == JobStatus.SUCCEEDED and same and not again:
        return Outcome.DONE_BEFORE
    return None


def _runtime_env(job: Job) -> dict[str, Any]:
    return {
        "working_dir": str(job.working_dir),
        "excludes": list(_NOT_SHIPPED),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
    }
