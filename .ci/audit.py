"""Ask PyPI for known vulnerabilities of all that constraints.txt pins: exits with 1 if there is one.

Where PyPI's advisories cannot be reached nothing is known, which is said, and is an error with --strict alone.
"""

import json
import subprocess
import sys
from pathlib import Path

_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def main(strict: bool) -> int:
    """Print what was found, a package a line, and a sentence."""
    command = ["pip-audit", "--requirement", _CONSTRAINTS, "--no-deps", "--disable-pip", "--format", "json"]
    process = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(process.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(process.stderr.strip().rpartition("\n")[2], file=sys.stderr)
        packages = []
    known = [package for package in packages if "vulns" in package]
    for package in known:
        for found in package["vulns"]:
            better = ", ".join(found["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {found['id']}, mended in {better}")
    bad = sum(bool(package["vulns"]) for package in known)
    missing = len(_pinned()) - len(known)
    print(f"{len(known)} packages looked up, {bad} with known vulnerabilities, {missing} not looked up")
    if missing:
        print("some could not be looked up: run `make audit` where PyPI's JSON API can be reached", file=sys.stderr)
    return 1 if bad or (strict and missing) else 0


def _pinned() -> list[str]:
    return [line for line in _CONSTRAINTS.read_text().splitlines() if "==" in line]


if __name__ == "__main__":
    sys.exit(main("--strict" in sys.argv[1:]))
