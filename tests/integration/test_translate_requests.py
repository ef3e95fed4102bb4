"""How often a translation asks S3: what a job of many shards costs and waits for depends on it (docs/scale.md)."""

from collections import Counter
from collections.abc import Iterator

import fsspec
import pytest

from dakpn.config import TranslateConfig
from dakpn.translation.job_plan import claim_output, plan_translation
from dakpn.translation.shard_job import ShardWork
from dakpn.translation.shard_rows import input_rows
from dakpn.translation.translator import Translator
from tests.faults import FaultyProxy, faulty_proxy
from tests.s3_server import chosen_server
from tests.scenes import Scenes


@pytest.fixture
def proxy(s3_server: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Counts, and does no harm."""
    if s3_server is None:
        pytest.skip(f"the S3 server comes with {chosen_server().source}; it is not installed here")
    with faulty_proxy(s3_server) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made


def _kinds(proxy: FaultyProxy) -> Counter[str]:
    return Counter("LIST" if "list-type" in path else method for method, path in proxy.requests)


def test_a_plan_takes_listings_and_one_look_a_marker_and_a_shard_a_few_writes(
    proxy: FaultyProxy, weights: str, scenes: Scenes
) -> None:
    fsspec.filesystem("s3", endpoint_url=proxy.url).put(scenes.synthetic, "requests/source", recursive=True)
    config = TranslateConfig(weights=weights, input="s3://requests/source", output="s3://requests/out")
    proxy.fail()
    plan = plan_translation(config)
    fresh = _kinds(proxy)
    assert len(plan.todo) == 3
    assert fresh["PUT"] == fresh["DELETE"] == 0

    claim_output(plan)
    work = ShardWork(Translator.load(weights), config, plan.claim)
    per_shard = []
    for task in plan.todo:
        proxy.fail()
        work.translate(task, input_rows(work.source(task)))
        per_shard.append(_kinds(proxy))
    assert all(kinds["PUT"] == 3 for kinds in per_shard)  # the shard, its rows, its marker
    assert all(kinds["GET"] + kinds["HEAD"] <= 10 for kinds in per_shard), per_shard
    assert all(kinds["LIST"] <= 2 for kinds in per_shard), per_shard

    proxy.fail()
    assert len(plan_translation(config).finished) == 3
    again = _kinds(proxy)
    assert again["LIST"] <= fresh["LIST"] + 1
    assert again["GET"] + again["HEAD"] - fresh["GET"] - fresh["HEAD"] <= 3 * 3  # a marker: is it there, how long, what
