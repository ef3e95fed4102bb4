"""Jobs of equal settings share an output; of others the last one to start has it."""

from pathlib import Path

import pytest

from dakpn.datasets.output_lock import JobClaim, read_claim
from dakpn.errors import UsageError


def test_the_last_claim_holds_and_the_others_learn_of_it(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert read_claim(out) is None
    first, twin = (JobClaim.of("in", {"weights": "w", "settings": {"strength": 1.0}}) for _ in range(2))
    other = JobClaim.of("in", {"weights": "w", "settings": {"strength": 0.5}})
    first.take(out)
    twin.take(out)
    first.require(out)
    other.take(out)
    other.require(out)
    with pytest.raises(UsageError, match="another job with other weights or settings"):
        first.require(out)
    assert read_claim(out) == other


def test_a_damaged_or_missing_claim_is_nobodys(tmp_path: Path) -> None:
    claim = JobClaim.of("in", {})
    with pytest.raises(UsageError):
        claim.require(str(tmp_path))
    claim.take(str(tmp_path))
    (tmp_path / "_dakpn/job.json").write_text("{")
    assert read_claim(str(tmp_path)) is None
