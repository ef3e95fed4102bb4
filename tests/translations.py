"""Translation jobs for tests, what they leave, and where their workers are."""

import hashlib
from pathlib import Path
from typing import Any

from dakpn.config import TranslateConfig
from tests.processes import with_title

SHARDS = 10
"""Of the fixture `many_shards`."""


def outputs(folder: Path | str) -> dict[str, str]:
    """Every file that a run leaves -> its digest; what tells of the run itself is left out."""
    told = {"report.json", "run.json"}
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and path.name not in told]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def arguments(weights: str, source: str | Path, output: str | Path, *overrides: str) -> list[str]:
    return ["translate", "--weights", weights, "--input", str(source), "--output", str(output), *overrides]


def job(weights: str, source: str | Path, output: str | Path, workers: int = 0, **more: Any) -> TranslateConfig:
    return TranslateConfig(weights=weights, input=str(source), output=str(output), workers=workers, **more)


def finished(out: Path) -> int:
    """How many shards of an output have their completion marker."""
    return len(list((out / "_dakpn/shards").glob("*.json")))


def translators(ancestor: int) -> list[int]:
    """Processes of workers that translate."""
    return with_title(ancestor, "ShardTranslator")
