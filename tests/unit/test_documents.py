"""What the documents say is there: commands, links, and tests that defend what SECURITY.md promises.

`tests/integration/test_documents.py` runs the commands.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from tests.documents import PAGES, Command, shown_commands
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


def test_the_first_command_on_kubernetes_creates_the_namespace() -> None:
    first = next(command for command in shown_commands() if command.words[0] == "kubectl")
    assert first.words[:3] == ("kubectl", "apply", "-f")
    assert yaml.safe_load((REPOSITORY / first.words[3]).read_text())["kind"] == "Namespace"


def test_the_guide_and_security_name_files_that_exist() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text()
    named = re.findall(r"`((?:tests|k8s)/[\w./-]+)`", text + GUIDE)
    assert len(named) > 15
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
RUN_BY_CI = {"make", ".venv/bin/pre-commit", "dakpn", ".venv/bin/dakpn"}
OF_A_CLUSTER = {"ray", "docker", "helm", "kubectl", "export", "RAY_AUTH_MODE=token", "dakpn"}


def test_no_page_with_commands_is_left_out() -> None:
    assert {page for page in DOCUMENTS if "\n```sh\n" in page.read_text()} == set(PAGES)


def test_every_command_is_run_somewhere_or_marked_as_needing_a_cluster() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for command in shown_commands():
        first = command.words[0]
        assert first in (OF_A_CLUSTER if command.needs_cluster else RUN_BY_CI), command
        assert first != "make" or set(command.words[1:]) <= targets, command


@pytest.mark.parametrize("command", [c for c in shown_commands() if c.words[0].endswith("dakpn")], ids=str)
def test_every_dakpn_command_is_understood_by_the_command_line(command: Command) -> None:
    parser = typer.main.get_command(app)
    words = list(command.words[1:])
    while hasattr(parser, "commands"):
        parser = parser.commands[words.pop(0)]  # pyright: ignore[reportAttributeAccessIssue]
    parser.make_context("dakpn", words)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_link_is_dead() -> None:
    dead = []
    for page in DOCUMENTS:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def literal_texts() -> list[str]:
    """Texts in the sources, joined as Python joins them, with `...` for what is put in."""
    texts = []
    for path in (
        path for package in ("dakpn", "cluster", "workflows") for path in (REPOSITORY / package).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def sentences_of(page: str) -> list[str]:
    """The errors that a page of answers quotes."""
    return re.findall(r"^\| `([^`]+)` \|", (REPOSITORY / "docs" / page).read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def sources() -> str:
    return "\n".join(literal_texts())


def occurs(sentence: str, sources: str) -> bool:
    pattern = r"[^\n]*?".join(re.escape(part) for part in sentence.split("..."))
    return re.search(pattern, sources) is not None


@pytest.mark.parametrize("sentence", sentences_of("troubleshooting.md"))
def test_an_error_that_is_answered_is_one_of_the_code(sentence: str, sources: str) -> None:
    assert occurs(sentence, sources), sentence


def test_ten_errors_are_answered_and_one_of_nobody_would_be_noticed(sources: str) -> None:
    assert len(sentences_of("troubleshooting.md")) == 10
    assert not occurs("the folder ... does not exist; expected ... elsewhere", sources)
