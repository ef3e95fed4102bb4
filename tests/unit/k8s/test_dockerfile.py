"""What can be said of the image without building it."""

import json
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.paths import REPOSITORY
from tests.unit.k8s.overlays import K8S

LINES = re.sub(r"\\\n", " ", (K8S / "Dockerfile").read_text()).splitlines()


def stages() -> list[list[str]]:
    """Instructions of each stage, its FROM first."""
    found: list[list[str]] = []
    for line in LINES:
        if line.startswith("FROM "):
            found.append([])
        if found and line and not line.startswith("#"):
            found[-1].append(line)
    return found


def test_what_is_installed_is_what_is_locked() -> None:
    installs = [line for line in LINES if re.search(r"\bpip\b.* install ", line) and line.startswith("RUN")]
    assert len(installs) == 3
    assert all("--constraint constraints.txt" in line for line in installs)


def test_no_build_tool_is_in_the_final_stage() -> None:
    build, final = stages()
    assert any("build-essential" in line for line in build)
    assert not re.search(r"build-essential|gcc|g\+\+|make\b|git\b|-dev\b", "\n".join(final))
    assert any("pip uninstall --yes pip setuptools wheel" in line for line in final)


@pytest.mark.slow
def test_the_image_says_what_it_consists_of(tmp_path: Path) -> None:
    (line,) = (line for line in stages()[0] if "cyclonedx-py" in line)
    command = shlex.split(line.partition("&& /opt/sbom/bin/")[2])
    bill = tmp_path / "sbom.json"
    here = {"/opt/venv/sbom.json": str(bill), "/opt/venv/bin/python": sys.executable}
    tool = Path(sys.prefix) / "sbom/bin" / command[0]
    assert tool.exists(), "`make test-slow` installs it"
    subprocess.run([tool, *(here.get(word, word) for word in command[1:])], cwd=REPOSITORY, check=True)
    found = {component["name"]: component["version"] for component in json.loads(bill.read_text())["components"]}
    assert found["ray"] == metadata.version("ray")
    assert len(found) > 50
    assert "COPY --from=build /opt/venv /opt/venv" in stages()[1]


def test_the_image_does_not_run_as_root() -> None:
    _, final = stages()
    users = [line for line in final if line.startswith("USER ")]
    assert users == ["USER 1000:1000"]
    assert final.index(users[0]) > max(n for n, line in enumerate(final) if line.startswith("RUN"))


def test_the_context_is_what_the_image_is_made_of() -> None:
    allowed = {line[1:] for line in (K8S / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for line in LINES if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    }
    assert {source.split("/")[0] for source in copied} == allowed
