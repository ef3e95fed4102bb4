"""The program `dakpn`, also `python -m workflows`: runs the command line, and makes a sentence of each known error.

Exit codes: 0 done, 1 failed, 2 wrong usage or config, 3 done with items quarantined. Results go to stdout, logs and
errors to stderr.
"""

import io
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console
from rich.logging import RichHandler

from workflows.cli import app

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command that the process's arguments name. `--config PATH`, as training scripts have it, will do."""
    _print_whatever_names_hold()
    _log_to_stderr()
    start = 3 if sys.argv[1:2] == ["submit"] else 2  # behind the command's name
    sys.argv[start:] = _config_first(sys.argv[start:])
    try:
        app()
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # what typer makes of Ctrl-C
            _fail("interrupted; the same command goes on where this one stopped", _INTERRUPTED)
        raise
    except Exception as error:
        from cluster.failures import actionable_error  # loads Ray

        known = actionable_error(error)
        if known is None:
            raise
        _fail(str(known), known.exit_code)
    sys.exit(0)


def _config_first(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with the path given as `--config` as the first one."""
    rest = list(arguments)
    for index, argument in enumerate(rest):
        if argument == "--config" and index + 1 < len(rest):
            return [rest[index + 1], *rest[:index], *rest[index + 2 :]]
        if argument.startswith("--config="):
            return [argument.removeprefix("--config="), *rest[:index], *rest[index + 1 :]]
    return rest


def _fail(sentence: str, exit_code: int) -> NoReturn:
    sys.stderr.write(f"dakpn: {sentence}\n")
    sys.exit(exit_code)


def _print_whatever_names_hold() -> None:
    """Have characters that a terminal cannot show, such as those of file names, printed as escapes: no failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _log_to_stderr() -> None:
    console = Console(stderr=True)
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s", "%H:%M:%S"))
    for name in ("dakpn", "workflows", "cluster"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(handler)


if __name__ == "__main__":
    main()
