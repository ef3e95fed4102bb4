"""Run all benchmarks, or those named: `python -m benchmarks [function generator pipeline ...]`."""

import importlib
import json
import pkgutil
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import benchmarks

_REPORTS = Path(__file__).parent / "reports"


def main(chosen: list[str]) -> int:
    """Print the table, write the JSON and tell by the exit code whether every target was met."""
    known = sorted(
        m.name.removeprefix("bench_") for m in pkgutil.iter_modules(benchmarks.__path__) if "bench_" in m.name
    )
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    claims = []
    for name in chosen or known:
        for claim in importlib.import_module(f"benchmarks.bench_{name}").run():
            claims.append(claim)
            mark = "met" if claim.reached else "MISSED"
            print(f"{claim.claim:<72} target {claim.target:>9}   measured {claim.measured:8.2f}   {mark}", flush=True)
    moment = datetime.now(UTC)
    _REPORTS.mkdir(exist_ok=True)
    path = _REPORTS / f"{platform.machine()}-{moment:%Y%m%d-%H%M%S}.json"
    machine = {"machine": platform.machine(), "python": platform.python_version(), "time": moment.isoformat()}
    path.write_text(json.dumps({**machine, "claims": [claim._asdict() for claim in claims]}, indent=2) + "\n")
    print(f"written to {path}")
    return 0 if all(claim.reached for claim in claims) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
