"""What a rerun takes as done, and what becomes of a shard that fails."""

from pathlib import Path

import pytest
import torch

from dakpn.config import TranslateConfig
from dakpn.errors import UsageError
from dakpn.translation import job_plan, shard_job
from dakpn.translation.job_estimate import estimate
from dakpn.translation.job_plan import claim_output, plan_translation
from dakpn.translation.job_sample import measure
from dakpn.translation.translator import Translator
from tests.scenes import Scenes
from tests.unit.translation.stored import store_params


def test_shards_of_a_version_that_gives_other_pixels_are_made_again(
    scenes: Scenes, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = store_params(weights, scenes.synthetic, tmp_path / "out", content="pixels")
    config = TranslateConfig(weights=weights, input=scenes.synthetic, output=str(output))
    before = plan_translation(config)
    assert (len(before.finished), before.todo) == (3, [])

    monkeypatch.setattr(job_plan, "RESULT_VERSION", job_plan.RESULT_VERSION + 1)
    after = plan_translation(config)
    assert (after.finished, len(after.todo)) == ({}, 3)
    claim_output(after)
    with pytest.raises(UsageError, match="another job"):  # what of the former version still runs, writes no more
        before.claim.require(config.output)


def test_settings_that_change_no_byte_keep_what_is_done(scenes: Scenes, weights: str, tmp_path: Path) -> None:
    output = store_params(weights, scenes.synthetic, tmp_path / "out", content="pixels")
    config = TranslateConfig(
        weights=weights, input=scenes.synthetic, output=str(output), workers=7, decode_workers=3, prefetch_bytes=1000
    )
    assert len(plan_translation(config).finished) == 3
    assert len(plan_translation(config.model_copy(update={"precision": "uint8"})).todo) == 3


def test_a_shard_without_memory_is_an_error_of_its_own(
    scenes: Scenes, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(shard_job, "translate_rows", too_large)
    config = TranslateConfig(weights=weights, input=scenes.synthetic, output=str(tmp_path / "out"))
    plan = plan_translation(config)
    work = shard_job.ShardWork(Translator.of_job(config, plan.index), config)
    result = shard_job.try_shard(work, plan.todo[0], [], [])
    assert (result["marker"], result["fatal"]) == (None, False)
    assert f"{plan.todo[0].name}.parquet: out of memory; use larger nodes" in str(result["error"])


def test_stages_without_a_fused_form_are_said_once_at_the_start(
    scenes: Scenes, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = TranslateConfig(weights=weights, input=scenes.synthetic, output=str(tmp_path / "out"))
    plan_translation(config)
    assert "fused" not in caplog.text
    monkeypatch.setattr(job_plan, "why_stages_not_fused", lambda names: "2 stages look at a pixel's surroundings")
    plan_translation(config)
    assert caplog.text.count("cannot compute the stages of these weights: 2 stages look at a pixel's surroundings") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU; the test is of one without")
def test_a_job_for_gpus_is_planned_and_estimated_without_one(
    scenes: Scenes, weights: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TranslateConfig(weights=weights, input=scenes.synthetic, output=str(tmp_path / "out"), num_gpus=1)
    plan = plan_translation(config)
    assert len(plan.todo) == 3
    assert "this process has none" not in caplog.text
    assert estimate(plan, measure(plan)).images == 12
    assert caplog.text.count("this process has none: it takes the CPU") == 1
    with pytest.raises(UsageError, match="device 'cuda' cannot be used"):  # a worker without one does not go on
        Translator.of_job(config, plan.index)
