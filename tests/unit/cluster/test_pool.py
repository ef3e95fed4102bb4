"""A pool of Ray tasks: no more at a time than asked for, each result once, and nothing left at work."""

import time
from pathlib import Path

import pytest

from cluster.pool import run_tasks


def note(folder: Path, seconds: float, number: int) -> tuple[float, float, int]:
    """A job that says when it was at work."""
    if number < 0:
        raise ValueError(f"job {number} cannot be done")
    began = time.time()
    (folder / f"{number}-begun").touch()
    time.sleep(seconds)
    (folder / f"{number}-ended").touch()
    return began, time.time(), number


@pytest.mark.usefixtures("ray_here")
def test_jobs_run_so_many_at_a_time_and_come_as_they_end(tmp_path: Path) -> None:
    told: list[int] = []
    done = dict(run_tasks(note, range(10, 16), 2, tmp_path, 0.1, waiting=told.append))
    assert {number: result[2] for number, result in done.items()} == {n: n + 10 for n in range(6)}
    spans = [result[:2] for result in done.values()]
    at_once = [sum(began <= moment < ended for began, ended in spans) for moment, _ in spans]
    assert max(at_once) == 2
    assert set(told) == {1, 2}


@pytest.mark.usefixtures("ray_here")
def test_who_stops_or_fails_leaves_nothing_at_work(tmp_path: Path) -> None:
    results = run_tasks(note, [0, *range(1, 9)], 2, tmp_path, 0.5)
    next(results)
    results.close()
    time.sleep(1.5)
    assert not (tmp_path / "3-begun").exists()  # 0 has ended, 1 and 2 were with Ray
    assert len(list(tmp_path.glob("*-ended"))) < 3
    with pytest.raises(ValueError, match="job -1 cannot be done"):
        list(run_tasks(note, [-1, 9], 1, tmp_path, 0.0))
    assert list(run_tasks(note, [], 2, tmp_path, 0.0)) == []
