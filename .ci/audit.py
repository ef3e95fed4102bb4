"""Ask PyPI for known holes in the locked versions, and say how many of them it could tell of.

Exits with 1 if there is a hole, and with `--must-reach` also if the service does not know all packages. Without it, a
network that has no advisories does not fail: the last line then says that nothing was audited.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

AUDIT = ["pip-audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip", "--format", "json"]
AUDIT += ["--timeout", "10"]  # seconds without an answer, after which there is no network


def audited(timeout_s: float = 300) -> list[dict[str, Any]]:
    """What pip-audit says of each package; nothing if it cannot reach its service."""
    command = [str(Path(sys.executable).parent / AUDIT[0]), *AUDIT[1:]]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
        return json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return []


def verdict(packages: list[dict[str, Any]], must_reach: bool) -> tuple[list[str], int]:
    """One line for each hole, one for the whole, and the exit code."""
    known = [package for package in packages if "vulns" in package]
    lines = [
        f"{package['name']} {package['version']}: {hole['id']}, "
        f"mended in {', '.join(hole['fix_versions']) or 'no version'}"
        for package in known
        for hole in package["vulns"]
    ]
    whole = bool(known) and len(known) == len(packages)
    rest = "" if whole else "; the rest was NOT AUDITED: the service could not be reached or does not know it"
    count = f"audit: {len(lines)} holes in {len(known)} of {len(packages)} packages{rest}"
    return [*lines, count], int(bool(lines) or (must_reach and not whole))


if __name__ == "__main__":
    said, code = verdict(audited(), "--must-reach" in sys.argv[1:])
    sys.stdout.write("\n".join(said) + "\n")
    raise SystemExit(code)
