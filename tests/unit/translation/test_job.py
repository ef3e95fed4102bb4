"""The job is the same whatever does its shards; the executor in this process stands for all."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dakpn.config import TranslateConfig
from dakpn.datasets.schema import Sample
from dakpn.datasets.shards import read_shard
from dakpn.errors import DataError
from dakpn.translation.job import Done, InProcess, translate_dataset
from dakpn.translation.job_plan import TranslationPlan
from dakpn.translation.job_report import read_report
from dakpn.translation.shard_task import ShardResult
from tests.scenes import Scenes, copy_dataset, write_shard


class Watched(InProcess):
    """Keeps what was told, and the shards that were done when the job left it."""

    def __init__(self) -> None:
        self.told: list[Done] = []
        self.names: list[str] = []
        self.left = False

    def results(self, plan: TranslationPlan, tell: Callable[[Done], None]) -> Generator[ShardResult]:
        def both(done: Done) -> None:
            self.told.append(done)
            tell(done)

        try:
            for result in super().results(plan, both):
                self.names.append(result["name"])
                yield result
        finally:
            self.left = True


def test_rows_of_a_shard_that_fails_do_not_count_as_done(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    short = source / "train-00000-of-00003.parquet"
    write_shard(short, list(read_shard(str(short)))[:3])
    config = TranslateConfig(weights=weights, input=str(source), output=str(tmp_path / "out"), max_bad_fraction=1)
    executor = Watched()
    with pytest.raises(DataError, match=r"1 of 3 shards failed, first: .*found 3 rows, expected the 4 of its index"):
        translate_dataset(config, executor)
    assert sorted(executor.names) == [f"train-0000{number}-of-00003" for number in range(3)]
    assert executor.told[-1].images == 8
    sizes = [len(row.image) + len(row.label or b"") for n in (1, 2) for row in _rows(source, n)]
    assert executor.told[-1].bytes == sum(sizes)
    assert read_report(config.output).images == 8


def test_a_job_that_is_over_its_budget_leaves_its_executor_at_once(
    scenes: Scenes, weights: str, tmp_path: Path
) -> None:
    source = copy_dataset(scenes.synthetic, tmp_path / "source")
    for number in range(3):
        path = source / f"train-0000{number}-of-00003.parquet"
        first, *rest = read_shard(str(path))
        write_shard(path, [replace(first, image=first.image[:100]), *rest])
    executor = Watched()
    with pytest.raises(DataError, match="more than max_bad_fraction"):
        translate_dataset(TranslateConfig(weights=weights, input=str(source), output=str(tmp_path / "out")), executor)
    assert (len(executor.names), executor.left) == (1, True)


def _rows(source: Path, number: int) -> Iterator[Sample]:
    return read_shard(str(source / f"train-0000{number}-of-00003.parquet"))
