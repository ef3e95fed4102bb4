"""The part of the `dakpn` command that works on a remote cluster: `submit` and `jobs`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

Address = Annotated[
    str | None,
    typer.Option(help="URL of the head's dashboard, http://HEAD:8265.", envvar="RAY_API_SERVER_ADDRESS"),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Submission id.")]
jobs = typer.Typer(help="Look at submitted jobs, or stop them.", no_args_is_help=True)

SUBMIT_SETTINGS = {"ignore_unknown_options": True}
"""Options of the submitted command pass through."""


def submit(
    context: typer.Context,
    command: Annotated[
        Literal["pack", "check", "train", "translate", "tune", "evaluate"], typer.Argument(help="What the job runs.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS...", help="Of that command, as without submit.")
    ] = None,
    address: Address = None,
    working_dir: Annotated[
        Path, typer.Option(help="Folder that the cluster gets a copy of, without data, runs and credentials.")
    ] = Path(),
    again: Annotated[bool, typer.Option("--again", help="Run a job that is done once more.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the log.")] = False,
) -> None:
    """Run a command as a job on a Ray cluster, and follow its log.

    The same command again attaches to the job; after a failure it starts the next attempt, which goes on where the last
    one stopped. Ctrl-C leaves the job at work. The token of the cluster is that of RAY_AUTH_TOKEN, of the file
    RAY_AUTH_TOKEN_PATH or of ~/.ray/auth_token. The exit code is the job's.
    """
    from workflows import submit as workflow

    given = list(arguments or ())
    parser = getattr(context.find_root().command, "commands")[command]  # noqa: B009 - a group of click, which is no dependency
    parsed = parser.make_context(command, list(given), parent=context.parent).params
    job = workflow.plan_job(command, given, parsed, working_dir)
    typer.echo(f"job: {workflow.main(job, address, _show, again, detach)}")


@jobs.command()
def status(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Submission id; all jobs by default.")] = None,
    address: Address = None,
) -> None:
    """Show one job and the end of its log, or one line about each."""
    from cluster.job_client import JobClient
    from cluster.job_log import last_lines

    client = JobClient(address)
    if job_id is None:
        for job in client.jobs():
            typer.echo(_line(job))
        typer.echo(f"dashboard: {client.address}; log of a job: `dakpn jobs logs ID`")
        return
    typer.echo(_line(client.job(job_id)))
    typer.echo(f"dashboard: {client.page(job_id)}; log: `dakpn jobs logs {job_id}`, which ends with")
    for line in last_lines(client.log(job_id)):
        typer.echo(f"  {line}")


@jobs.command()
def logs(
    job_id: JobId,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", help="Until the job ends; the exit code is its own.")] = False,
) -> None:
    """Print what a job has printed."""
    from cluster import job_log
    from cluster.job_client import JobClient

    client = JobClient(address)
    if not follow:
        _show(client.log(job_id))
        return
    client.job(job_id)
    job_log.raise_unless_succeeded(client, job_log.follow(client, job_id, _show))


@jobs.command()
def stop(job_id: JobId, address: Address = None) -> None:
    """Ask a job to end; a training writes a checkpoint first."""
    from cluster.job_client import JobClient

    at_work = JobClient(address).stop(job_id)
    typer.echo(f"{job_id}: {'asked to stop' if at_work else 'was not at work'}")


def _line(job: "JobDetails") -> str:
    return f"{job.submission_id}  {job.status}  {job.entrypoint}"


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
