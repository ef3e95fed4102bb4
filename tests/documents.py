"""The shell commands that README and docs show."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.paths import REPOSITORY

PAGES = tuple(
    REPOSITORY / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        *(
            f"docs/{page}.md"
            for page in ("cluster", "datasets", "evaluation", "next_stage", "tuning", "settings", "quickstart")
        ),
    )
)
"""In the order in which a reader would run them."""
_MARK = "# needs a cluster"


@dataclass(frozen=True)
class Command:
    """One command of a block.

    Attributes:
        page: that shows it.
        words: as a shell would split it, without comments.
        needs_cluster: the block's first line says so.
    """

    page: Path
    words: tuple[str, ...]
    needs_cluster: bool

    def __str__(self) -> str:
        return f"{self.page.name}: {shlex.join(self.words)}"


def shown_commands() -> list[Command]:
    """All commands in blocks marked as `sh`."""
    return [command for page in PAGES for command in _commands_of(page)]


def _commands_of(page: Path) -> list[Command]:
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        marked = block.startswith(f"{_MARK}\n")
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(Command(page, tuple(words), marked))
    return found
