"""The verdict on what pip-audit said."""

import importlib.util

import pytest

from tests.paths import REPOSITORY

SPEC = importlib.util.spec_from_file_location("audit", REPOSITORY / ".ci/audit.py")
assert SPEC
assert SPEC.loader
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

SOUND = {"name": "sound", "version": "1", "vulns": []}
HOLED = {"name": "holed", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "codes", "said"),
    [
        ([SOUND], (0, 0), "0 holes in 1 of 1 packages"),
        ([SOUND, HOLED], (1, 1), "holed 2: PYSEC-1, mended in 3"),
        ([HOLED, UNKNOWN], (1, 1), "1 holes in 1 of 2 packages; the rest was NOT AUDITED"),
        ([SOUND, UNKNOWN], (0, 1), "0 holes in 1 of 2 packages; the rest was NOT AUDITED"),
        ([], (0, 1), "0 of 0 packages; the rest was NOT AUDITED"),
    ],
)
def test_holes_fail_always_and_silence_where_it_must_not(
    packages: list[dict], codes: tuple[int, int], said: str
) -> None:
    for must_reach, code in zip((False, True), codes, strict=True):
        lines, found = audit.verdict(packages, must_reach)
        assert found == code
        assert said in "\n".join(lines)
