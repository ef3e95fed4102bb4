"""Run the stages of CI, and end with a table of what each of them took.

The tests run one tier after the other and print as they go. Linters, licenses, audit and reference run beside them, and
what each of these prints comes when it ends. Exits with 1 if a stage failed.
"""

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

TESTS = (("make", "test"), ("make", "test-slow"))
BESIDE = (("make", "lint"), ("make", "licenses"), (sys.executable, ".ci/audit.py"), ("make", "docs"))


@dataclass(frozen=True)
class Stage:
    """A stage that has ended.

    Attributes:
        name: Of the stage.
        seconds: That it took.
        tests: The line with which pytest closes; empty for others.
        code: Exit code.
    """

    name: str
    seconds: float
    tests: str
    code: int


def run(command: tuple[str, ...], *, shown: bool) -> Stage:
    """Run a stage to its end; what it prints is printed line by line if `shown`, else as a whole."""
    began, lines = time.monotonic(), []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            lines.append(line)
            if shown:
                print(line, end="", flush=True)
    if not shown:
        print(f"--- {command[-1]}\n{''.join(lines)}", end="", flush=True)
    return Stage(command[-1], time.monotonic() - began, counted(lines), process.returncode)


def counted(lines: list[str]) -> str:
    """How many tests passed, failed and so on, by pytest's last line that says so; "" if there is none."""
    for line in reversed(lines):
        if found := re.search(
            r"((?:\d+ (?:passed|failed|skipped|deselected|errors?|xfailed|xpassed|warnings?),? ?)+)in ", line
        ):
            return found[1].strip().rstrip(",")
    return ""


def table(stages: list[Stage]) -> str:
    """One row a stage."""
    rows = [("stage", "seconds", "tests")]
    rows += [(f"{s.name}{' FAILED' if s.code else ''}", f"{s.seconds:.0f}", s.tests) for s in stages]
    wide = max(len(row[0]) for row in rows)
    return "\n".join(f"{name:{wide}}  {seconds:>7}  {tests}" for name, seconds, tests in rows)


def main(setup_took: float) -> int:
    """Run everything; return the exit code."""
    began = time.monotonic()
    with ThreadPoolExecutor(1) as lane:
        beside = [lane.submit(run, command, shown=False) for command in BESIDE]
        tests = [run(command, shown=True) for command in TESTS]
        stages = [Stage("setup", setup_took, "", 0), *tests, *(future.result() for future in beside)]
    failed = any(stage.code for stage in stages)
    whole = Stage("all", setup_took + time.monotonic() - began, "", int(failed))
    print(f"\n{table([*stages, whole])}")
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup-took", type=float, default=0.0, help="seconds")
    raise SystemExit(main(parser.parse_args().setup_took))
