"""Names of jobs."""

import pytest

from cluster.submit import job_name


def test_the_same_run_has_the_same_name_and_another_run_another() -> None:
    name = job_name("train", "s3://bucket/runs/gta5")
    assert name == job_name("train", "s3://bucket/runs/gta5/")
    others = [
        ("train", "s3://other/runs/gta5"),
        ("translate", "s3://bucket/runs/gta5"),
        ("train", "s3://bucket/runs/b"),
    ]
    assert name not in {job_name(*other) for other in others}
    assert name.startswith("dakpn-train-gta5-")


@pytest.mark.parametrize("target", ["/runs/Straße 1", "s3://b/" + "x" * 300, "s3://b/a_b.c", "/", "s3://b/-"])
def test_a_name_is_short_and_plain_whatever_the_run_is_called(target: str) -> None:
    name = job_name("translate", target)
    assert len(name) <= 47
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert "--" not in name
