"""A client of the Ray Jobs API that shows its token and whose errors a user can act on."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from dakpn.errors import ClusterError, UsageError

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_TOKEN_VARIABLE, _TOKEN_PATH_VARIABLE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_ADVICE = f"set {_TOKEN_VARIABLE}, or {_TOKEN_PATH_VARIABLE} to the path of a file that holds it"


class JobClient:
    """The jobs of one cluster.

    Attributes:
        address: http(s) URL of the head's dashboard.
    """

    def __init__(self, address: str | None) -> None:
        """Connect.

        Args:
            address: URL of the dashboard; None takes that of RAY_API_SERVER_ADDRESS.

        Raises:
            UsageError: There is no address, or it is no URL; or the cluster refuses the token, or wants one.
            ClusterError: Nothing answers there.
        """
        self.address = _dashboard(address)
        os.environ[ADDRESS_VARIABLE] = self.address  # Ray takes this variable, and RAY_ADDRESS, over its own argument
        token = _token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self._asking():
            self.ray = JobSubmissionClient(self.address, headers=headers)
            self.ray.list_jobs()  # the client's own greeting needs no token

    def page(self, job_id: str) -> str:
        """URL of a job's page in the dashboard: its state, its log, and the nodes that it works on."""
        return f"{self.address}/#/jobs/{job_id}"

    def jobs(self) -> list[JobDetails]:
        """All jobs that were submitted, oldest first."""
        with self._asking():
            submitted = [job for job in self.ray.list_jobs() if job.submission_id]
        return sorted(submitted, key=lambda job: job.start_time or 0)

    def attempts(self, name: str) -> list[tuple[int, JobDetails]]:
        """Jobs of this name, `NAME`, `NAME-2` and so on: number and details, the latest attempt last."""
        found = []
        for job in self.jobs():
            match = re.fullmatch(rf"{re.escape(name)}(?:-(\d+))?", str(job.submission_id))
            if match:
                found.append((int(match[1] or 1), job))
        return sorted(found, key=lambda attempt: attempt[0])

    def job(self, job_id: str) -> JobDetails:
        """One job's details.

        Raises:
            UsageError: There is no such job.
            ClusterError: The cluster gave no answer.
        """
        known = {str(job.submission_id): job for job in self.jobs()}
        if job_id not in known:
            raise UsageError(f"no job {job_id} on {self.address}; it has {', '.join(known) or 'none'}")
        return known[job_id]

    def submit(self, job_id: str, entrypoint: str, runtime_env: dict[str, Any]) -> None:
        """Start a job.

        Raises:
            ClusterError: The cluster refuses it, or its working directory is too large.
        """
        with self._asking():
            self.ray.submit_job(entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime_env)

    def stop(self, job_id: str) -> bool:
        """Ask a job to end; tell whether it was at work."""
        self.job(job_id)
        with self._asking():
            return self.ray.stop_job(job_id)

    def log(self, job_id: str) -> str:
        """All that a job has printed."""
        self.job(job_id)
        with self._asking():
            return self.ray.get_job_logs(job_id)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            if "401" in str(error) or "Missing" in str(error):
                raise UsageError(
                    f"the Ray cluster at {self.address} wants a token, and none is set; {_ADVICE}"
                ) from None
            raise UsageError(f"the Ray cluster at {self.address} refuses the token; {_ADVICE}") from None
        except (ConnectionError, requests.RequestException) as error:
            raise ClusterError(
                f"no Ray cluster answers at {self.address} ({type(error).__name__}); give the URL of the head's "
                "dashboard, http://HEAD:8265, and forward its port if it lies behind a firewall"
            ) from error
        except (RuntimeError, ValueError) as error:
            raise ClusterError(f"the Ray cluster at {self.address} refused: {' '.join(str(error).split())}") from error


def _dashboard(address: str | None) -> str:
    address = address or os.environ.get(ADDRESS_VARIABLE)
    if not address:
        raise UsageError(f"no cluster is named; give --address http://HEAD:8265 or set {ADDRESS_VARIABLE}")
    if not re.match(r"https?://[^@/]+/?$", address):
        raise UsageError(f"got the address {address}; expected the URL of a Ray dashboard, http://HEAD:8265")
    return address.rstrip("/")


def _token() -> str | None:
    """The cluster's token, found where Ray itself looks for it."""
    if token := os.environ.get(_TOKEN_VARIABLE, "").strip():
        return token
    given = os.environ.get(_TOKEN_PATH_VARIABLE)
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        if given:
            raise UsageError(f"{_TOKEN_PATH_VARIABLE}={given} cannot be read ({error}); {_ADVICE}") from error
        return None
