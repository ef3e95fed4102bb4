"""Submit: a command as a job on a Ray cluster, checked here before anything is sent."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cluster.job_client import JobClient
from cluster.job_log import follow, raise_unless_succeeded
from cluster.submit import Job, Outcome, job_name, submit
from dakpn import storage
from dakpn.config import TrainConfig, TranslateConfig
from dakpn.errors import UsageError
from workflows.command_configs import evaluate_config, train_config, translate_config, tune_config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Command:
    """A command that can be a job.

    Attributes:
        config: makes its config of those parsed arguments that `settings` names.
        settings: names of arguments.
        target: field of the config that says what the job makes; two jobs with the same target are the same run.
        inputs: other fields that hold URIs.
    """

    config: Callable[..., BaseModel]
    settings: tuple[str, ...]
    target: str
    inputs: tuple[str, ...]


COMMANDS = {
    "train": _Command(train_config, ("config", "overrides"), "run", ("synthetic", "real")),
    "translate": _Command(
        translate_config, ("weights", "input", "output", "overrides"), "output", ("weights", "input")
    ),
    "tune": _Command(tune_config, ("config", "overrides"), "output", ("synthetic", "real", "validation")),
    "evaluate": _Command(
        evaluate_config,
        ("config", "overrides", "contender", "quick"),
        "output",
        ("synthetic", "real", "oracle", "real_test"),
    ),
}


def main(
    job: Job, address: str | None, write: Callable[[str], object], again: bool = False, detach: bool = False
) -> str:
    """Submit a job or attach to it, follow its log and return its id.

    Args:
        job: made by `plan_job`.
        address: URL of the cluster's dashboard; None takes RAY_API_SERVER_ADDRESS.
        write: gets what the job prints.
        again: also if it is done.
        detach: return as soon as it is submitted.

    Raises:
        UsageError: the cluster wants another token, or the run is at work with other settings.
        ClusterError: the cluster cannot be reached, or refuses the job.
        JobError: the job did not succeed; the exit code is its own.
        DetachedError: Ctrl-C; the job goes on.
    """
    client = JobClient(address)
    job_id, outcome = submit(client, job, again)
    if outcome is Outcome.DONE_BEFORE:
        logger.info("job %s is done; --again runs it once more", job_id)
        return job_id
    logger.info("job %s on %s: %s; Ctrl-C leaves it at work", job_id, client.address, outcome.value)
    if not detach:
        raise_unless_succeeded(client, follow(client, job_id, write))
    return job_id


def plan_job(command: str, arguments: Sequence[str], parsed: Mapping[str, Any], working_dir: Path) -> Job:
    """Check a command's arguments and make a job of them.

    Args:
        command: train, translate, tune or evaluate.
        arguments: of the command, as given.
        parsed: the same by their names.
        working_dir: folder that is copied to the cluster; the config must be in it.

    Raises:
        UsageError: the config does not fit; it lies outside of `working_dir`; a URI is a path of this machine alone.
        StorageError: a URI holds a credential, or has an unknown scheme.
    """
    kind = COMMANDS[command]
    config = kind.config(**{name: parsed[name] for name in kind.settings})
    for field in (kind.target, *kind.inputs):
        _require_shared(field, getattr(config, field))
    if isinstance(config, TrainConfig | TranslateConfig) and config.most_workers == 0:
        logger.warning("workers=0 works in the head's own process; workers=N takes the cluster's nodes")
    shipped = list(arguments)
    if "config" in kind.settings:
        path = str(parsed["config"])
        shipped[shipped.index(path)] = _within(Path(path), working_dir)
    entrypoint = shlex.join(["python", "-m", f"workflows.{command}", *shipped])
    return Job(job_name(command, getattr(config, kind.target)), entrypoint, working_dir.resolve())


def _require_shared(field: str, uri: str | None) -> None:
    """A relative path would lead into the job's temporary folder; a credential would be in its log."""
    if uri is None:
        return
    storage.absolute(uri)  # refuses credentials and unknown schemes
    if "://" not in uri and not Path(uri).is_absolute():
        raise UsageError(
            f"{field}={uri} is a path on this machine; a job needs an s3:// URI, or the absolute path of a folder that "
            "all nodes share"
        )


def _within(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        raise UsageError(
            f"config {path} is not in the working directory {folder.resolve()}, which is what the cluster gets; "
            "start in a folder that holds it, or give that folder as --working-dir"
        ) from None
