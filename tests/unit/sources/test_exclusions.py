"""Rules that keep a part of every sequence, and packing with them."""

from pathlib import Path

import pytest

from dakpn.config import PackConfig
from dakpn.datasets.manifest import read_index, read_rows
from dakpn.errors import UsageError
from dakpn.sources.exclusions import BadRow, Exclusions, KeepRule, source_keys
from tests.scenes import CAMVID, Scenes
from workflows import pack

FRAMES = [*(f"train/A_{i:03}" for i in range(10)), *(f"train/B_{i:03}" for i in range(5)), "train/still"]
SEQUENCE = "([^/_]+)_"


def kept(rule: str, keys: list[str] = FRAMES) -> list[str]:
    return list(KeepRule.parse(rule).exclusions(keys, "frames").good)


def test_each_sequence_is_cut_at_its_own_length() -> None:
    early, late = kept(f"{SEQUENCE}:0.0-0.6"), kept(f"{SEQUENCE}:0.7-1.0")
    assert early == [f"train/A_{i:03}" for i in range(6)] + [f"train/B_{i:03}" for i in range(3)]
    assert late == [f"train/A_{i:03}" for i in (7, 8, 9)] + ["train/B_004"]
    assert "train/still" not in kept(f"{SEQUENCE}:0-1") != FRAMES


def test_ranges_that_meet_share_no_row_and_miss_none() -> None:
    halves = [kept(f"{SEQUENCE}:{span}") for span in ("0-0.3", "0.3-0.5", "0.5-1")]
    assert sorted(key for half in halves for key in half) == FRAMES[:-1]


def test_the_order_of_the_keys_does_not_matter_and_a_pattern_may_choose_sequences() -> None:
    assert kept(f"{SEQUENCE}:0-0.6", FRAMES[::-1]) == kept(f"{SEQUENCE}:0-0.6")
    assert kept("(B)_:0-1") == FRAMES[10:15]
    assert kept("train/[AB]:0-0.2") == ["train/A_000", "train/A_001", "train/B_000"]  # no group: the whole match


def test_what_is_left_out_has_a_reason() -> None:
    bad = KeepRule.parse("([A])_:0-0.5").exclusions(FRAMES, "frames").reasons
    assert bad["train/A_005"] == "outside 0.0-0.5 of A"
    assert bad["train/still"] == "does not match ([A])_"


@pytest.mark.parametrize("rule", ["0.0-0.6", "([):0-1", "x:0.6-0.6", "x:0.5-1.5", "x:..-1", "x"])
def test_a_malformed_rule_is_named(rule: str) -> None:
    with pytest.raises(UsageError, match="got the"):
        KeepRule.parse(rule)


def test_a_rule_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="keeps none of 16 rows of frames, such as train/A_000"):
        kept("nowhere:0-1")


def test_two_reasons_to_leave_rows_out_go_together() -> None:
    first = Exclusions(dataset="d", bad=(BadRow(key="a", reason="damaged"),), good=("b", "c"))
    second = Exclusions(dataset="e", bad=(BadRow(key="a", reason="late"), BadRow(key="b", reason="late")), good=("c",))
    joined = first.joined(second)
    assert joined.reasons == {"a": "damaged", "b": "late"}
    assert (joined.dataset, joined.good) == ("d", ("c",))


def test_packing_keeps_the_same_rows_of_a_folder_and_of_a_packed_dataset(scenes: Scenes, tmp_path: Path) -> None:
    rule = "^():0-0.5"  # one sequence of all rows
    outputs = []
    for source, preset in ((str(scenes.source), "camvid"), (scenes.synthetic, None)):
        output = str(tmp_path / f"out{len(outputs)}")
        index = pack.main(PackConfig(source=source, output=output, dataset=preset, keep=rule))
        outputs.append([row.key for shard in read_index(output).shards for row in read_rows(output, shard.name)])
        assert index.rows == 6
    assert outputs[0] == outputs[1] == sorted(source_keys(str(scenes.source), CAMVID, None))[:6]
