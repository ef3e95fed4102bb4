"""Numbers with what they count."""

from dakpn.translation.job_report import JobReport
from dakpn.wording import counted


def test_one_is_not_several() -> None:
    assert [counted(number, "shard") for number in (0, 1, 2)] == ["0 shards", "1 shard", "2 shards"]
    assert [counted(number, "shard was", "shards were") for number in (1, 2)] == ["1 shard was", "2 shards were"]


def test_the_report_of_a_job_counts_in_english() -> None:
    report = JobReport(shards=1, images=1, shards_before=1, quarantined={"a": 1}, restarts=1, seconds=3)
    assert str(report) == (
        "1 image in 1 shard translated in 3 s, 1 shard was done before, 1 image quarantined in 1 shard, "
        "1 shard begun again after a worker was lost"
    )
