"""What the documents say is there: commands that can be submitted, and tests that defend what SECURITY.md promises."""

import re
import shlex

import pytest
import typer

from tests.paths import REPOSITORY
from workflows.cli import app
from workflows.submit import plan_job

GUIDE = (REPOSITORY / "docs" / "cluster.md").read_text()
SUBMISSIONS = re.findall(r"^dakpn submit (.+)$", GUIDE.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("submission", SUBMISSIONS)
def test_every_submission_of_the_guide_would_be_sent(submission: str) -> None:
    command, *arguments = shlex.split(submission)
    parser = getattr(typer.main.get_command(app), "commands")[command]  # noqa: B009 - a group of click
    here = [str(REPOSITORY / text) if text.startswith("workflows/") else text for text in arguments]
    parsed = parser.make_context(command, list(here)).params
    entrypoint = plan_job(command, here, parsed, REPOSITORY).entrypoint
    assert shlex.split(entrypoint) == ["python", "-m", f"workflows.{command}", *arguments]


def test_the_guide_submits_something() -> None:
    assert len(SUBMISSIONS) >= 2


def test_the_guide_and_security_name_files_that_exist() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text()
    named = re.findall(r"`((?:tests|k8s)/[\w./-]+)`", text + GUIDE)
    assert len(named) > 15
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
