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
from dakpn.config import CheckConfig, PackConfig, SourceConfig, TrainConfig, TranslateConfig
from dakpn.errors import UsageError
from workflows.command_configs import (
    check_config,
    evaluate_config,
    is_config_file,
    pack_config,
    train_config,
    translate_config,
    tune_config,
)

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


def _words_and_options(schema: type[SourceConfig], *places: str) -> tuple[str, ...]:
    """Arguments of a command whose words are values of `places`, or a config; all other fields are options."""
    return ("words", *(name for name in schema.model_fields if name not in places))


COMMANDS = {
    "pack": _Command(pack_config, _words_and_options(PackConfig, "source", "output"), "output", ("source", "exclude")),
    "check": _Command(check_config, _words_and_options(CheckConfig, "source"), "source", ("output",)),
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
    logger.info("dashboard: %s; log: `dakpn jobs logs %s --follow`", client.page(job_id), job_id)
    if not detach:
        raise_unless_succeeded(client, follow(client, job_id, write))
    return job_id


def plan_job(command: str, arguments: Sequence[str], parsed: Mapping[str, Any], working_dir: Path) -> Job:
    """Check a command's arguments and make a job of them.

    Args:
        command: one of `COMMANDS`.
        arguments: Arguments of the command, as given.
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
    if (few := _works_on_the_head(config)) is not None:
        logger.warning("%s works in the head's own process; workers=N takes the cluster's nodes", few)
    if isinstance(config, SourceConfig):
        _require_shipped(config.dataset, working_dir)
    shipped = list(arguments)
    if (path := _config_file(parsed)) is not None:
        shipped[shipped.index(path)] = _within(Path(path), working_dir)
    entrypoint = shlex.join(["python", "-m", f"workflows.{command}", *shipped])
    return Job(job_name(command, getattr(config, kind.target)), entrypoint, working_dir.resolve())


def _works_on_the_head(config: BaseModel) -> str | None:
    """The setting by which a job leaves the cluster's nodes idle; None if it does not, or has no other choice."""
    if isinstance(config, TrainConfig | TranslateConfig) and config.most_workers == 0:
        return "workers=0"
    return "workers=1" if isinstance(config, PackConfig) and config.workers == 1 else None


def _config_file(parsed: Mapping[str, Any]) -> str | None:
    """The file that a command's settings come from; None if they come from its arguments alone."""
    if "config" in parsed:
        return str(parsed["config"])
    words = parsed.get("words")
    return words[0] if words and is_config_file(words[0]) else None


def _require_shipped(preset: str | None, working_dir: Path) -> None:
    """Refuse a preset of the user's own that the job, which starts in a copy of the folder, would not find."""
    if preset is None or not preset.endswith((".yaml", ".yml")):
        return
    there = _within(Path(preset), working_dir)
    if there != Path(preset).as_posix():
        raise UsageError(
            f"dataset={preset} leads nowhere on the cluster, where the job starts in a copy of "
            f"{working_dir.resolve()}; write dataset={there}"
        )


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
            f"the file {path} is not in the working directory {folder.resolve()}, which is what the cluster gets; "
            "start in a folder that holds it, or give that folder as --working-dir"
        ) from None
