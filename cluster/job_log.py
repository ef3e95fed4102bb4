"""Follow a job to its end: its log as it grows, whatever happens to the connection, and how it ended."""

import asyncio
import logging
from collections.abc import Callable

import aiohttp
from ray.job_submission import JobDetails, JobStatus

from cluster.job_client import JobClient
from dakpn.errors import ClusterError, DakpnError

logger = logging.getLogger(__name__)

_PATIENCE = 10
_PAUSE_S = 2.0


class JobError(DakpnError):
    """A job that did not succeed; ends the command with the job's own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DetachedError(DakpnError):
    """The log of a job is no longer followed, after Ctrl-C; the job goes on."""

    exit_code = 130


def follow(client: JobClient, job_id: str, write: Callable[[str], object]) -> JobDetails:
    """Pass on what a job prints, from its beginning, until it ends.

    The end of the stream is not taken for the end of the job: proxies close streams.

    Raises:
        DetachedError: Ctrl-C.
        ClusterError: The cluster gave no answer several times in a row.
    """
    try:
        return asyncio.run(_follow(client, job_id, write))
    except KeyboardInterrupt:
        raise DetachedError(
            f"detached; job {job_id} goes on. `dakpn jobs logs {job_id} --follow --address {client.address}` or the "
            f"same `dakpn submit` comes back to it, `dakpn jobs stop {job_id} --address {client.address}` ends it"
        ) from None


async def _follow(client: JobClient, job_id: str, write: Callable[[str], object]) -> JobDetails:
    written = silences = 0
    while True:
        seen = 0
        try:
            async for chunk in client.ray.tail_job_logs(job_id):  # a new stream begins with the log's first line
                new = chunk[max(0, written - seen) :]
                seen += len(chunk)
                if new:
                    write(new)
                    written += len(new)
        except (RuntimeError, aiohttp.ClientError, OSError) as error:
            logger.info("the log stream of job %s broke off (%s); asking again", job_id, error)
        try:
            details = client.job(job_id)
            silences = 0
            if details.status.is_terminal():
                return details
        except ClusterError:
            silences += 1
            if silences >= _PATIENCE:
                raise
        await asyncio.sleep(_PAUSE_S)


def raise_unless_succeeded(client: JobClient, details: JobDetails) -> None:
    """Return if a job succeeded, and raise what it ended with if not.

    Raises:
        JobError: It failed, with the reason from the end of its log, or was stopped.
    """
    if details.status == JobStatus.SUCCEEDED:
        return
    job_id = str(details.submission_id)
    if details.status == JobStatus.STOPPED:
        raise JobError(f"job {job_id} was stopped; the same `dakpn submit` lets the run go on", 1)
    code = details.driver_exit_code
    reason = " ".join((_reason(client.log(job_id)) or details.message or "no reason is known").split())
    if code:
        raise JobError(f"job {job_id} ended with exit code {code}: {reason}", code)
    raise JobError(f"job {job_id} failed: {' '.join((details.message or reason).split())}", 1)


def last_lines(log: str, count: int = 20) -> list[str]:
    """The last lines of a log that are not empty."""
    return [line for line in log.splitlines() if line.strip()][-count:]


def _reason(log: str) -> str | None:
    """The sentence that a command ended with, or whatever stands last."""
    lines = last_lines(log)
    sentences = [line.removeprefix("dakpn: ") for line in lines if line.startswith("dakpn: ")]
    return next(reversed(sentences or lines), None)
