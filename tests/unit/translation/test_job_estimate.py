"""A worker's memory is judged by the largest shard; an estimate by images that are left."""

from pathlib import Path

import pytest

from dakpn.config import TranslateConfig
from dakpn.datasets.manifest import DatasetIndex, ShardEntry
from dakpn.errors import UsageError
from dakpn.translation.job_estimate import estimate, worker_bytes
from dakpn.translation.job_plan import plan_translation
from dakpn.translation.job_sample import measure
from tests.scenes import Scenes


def _index(*sizes: int, **more: object) -> DatasetIndex:
    shards = [ShardEntry(name=f"s{i}", rows=1, sha256="", bytes=size) for i, size in enumerate(sizes)]
    return DatasetIndex.model_validate({"label_space": None, "labelled": False, "shards": shards, **more})


def test_memory_grows_with_the_largest_shard_and_not_with_their_number() -> None:
    config = TranslateConfig(weights="w", input="i", output="o")
    small, large = worker_bytes(config, _index(10**8)), worker_bytes(config, _index(10**9))
    assert large - small == 3 * 9 * 10**8
    assert worker_bytes(config, _index(*[10**8] * 1000)) == small
    assert worker_bytes(config, _index(10**9, format="folder")) == worker_bytes(config, _index())


def test_an_estimate_is_of_what_is_left_and_writes_nothing(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = TranslateConfig(
        weights=weights, input=scenes.synthetic, output=str(out), workers=(1, 2), price_per_worker_hour=3.0
    )
    plan = plan_translation(config)
    whole = estimate(plan, measure(plan))
    assert (whole.shards, whole.images, whole.bad, whole.sampled) == (3, 12, 0, 12)
    assert whole.images_per_second > 0
    assert whole.hours == pytest.approx(12 / whole.images_per_second / 3600 / 2)
    assert whole.cost == pytest.approx(3.0 * 2 * whole.hours)
    plan = plan_translation(config, only=["train-00002-of-00003"])
    part = estimate(plan, measure(plan))
    assert (part.shards, part.images, part.sampled) == (1, 4, 4)
    assert not out.exists()
    with pytest.raises(UsageError, match="no shard 'train-3'"):
        plan_translation(config, only=["train-3"])
