"""The page of a sweep: whatever it is told is shown as text, and every trial has its place."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from dakpn.report.plots import Axis, ParallelLine, plot_parallel
from dakpn.report.sweep_page import render_sweep, sweep_page
from dakpn.tuning.outcome import judge_sweep
from tests.unit.tuning.sweeps import RATE, record, sweep_config

HEIGHT = 330
EVIL = "<script>alert(1)</script>"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "action")]


def test_texts_of_configs_and_errors_stay_texts() -> None:
    space = {RATE: {"uniform": [0.1, 1]}, "tracking.project": {"choice": [EVIL, "b"]}}
    config = sweep_config(f"tune.output={EVIL}", f"synthetic='{EVIL}'", space=space)
    records = [record("a", 3.0, 2.0), record("b", failure=EVIL)]
    page = render_sweep(sweep_page(config, judge_sweep(config, records, {})))
    tags = Tags(page).tags
    assert "script" not in tags
    assert page.count("&lt;script&gt;") >= 3
    assert "default-src 'none'" in page
    assert not re.search(r"https?://", page)
    assert tags.count("tr") == 3  # head and both trials


def test_the_winner_and_what_the_proxy_is_worth_come_first() -> None:
    config = sweep_config()
    records = [record("a", 9.0, 5.0), record("b", 9.0, 4.0, donors=(("a", 4),)), record("c", 9.0, 6.0)]
    page = render_sweep(sweep_page(config, judge_sweep(config, records, {"a": {0: 0.2}, "b": {0: 0.3}, "c": {0: 0.1}})))
    sentence = re.search(r'class="sentence">(.*?)</p>', page)
    assert sentence is not None
    assert sentence[1].startswith("Trial 2 is the best: predictor learning rate 0.001, identity weight 1, style ")
    assert "rank correlation of colors with mIoU over 3 trials: +1.00" in page
    assert "went on from trial 1 at step 4" in page
    assert page.count("stroke:var(--ours);stroke-width:2.6") == 1  # its curve
    assert page.count("stroke:var(--ours);stroke-width:3.2") == 1  # its line through the settings


def test_a_sweep_that_failed_whole_has_a_page_too() -> None:
    config = sweep_config()
    page = render_sweep(sweep_page(config, judge_sweep(config, [record("a", failure="no memory")], {})))
    assert "All 1 trials failed." in page
    assert "trial 1: no memory" in page


@pytest.mark.parametrize(
    ("axis", "values", "heights"),
    [
        (Axis("log", 1e-4, 1e-2, is_log=True), (1e-4, 1e-3, 1e-2), (1.0, 0.5, 0.0)),
        (Axis("linear", 0.0, 4.0), (0.0, 1.0, 4.0), (1.0, 0.75, 0.0)),
        (Axis("choice", 0, 2, choices=("a", "b", "c")), (0.0, 1.0, 2.0), (1.0, 0.5, 0.0)),
        (Axis("one value", 3.0, 3.0), (3.0,), (0.5,)),
    ],
)
def test_values_stand_where_their_scale_has_them(axis: Axis, values: tuple, heights: tuple) -> None:
    assert [axis.place(value) for value in values] == pytest.approx([1 - height for height in heights])
    svg = plot_parallel([axis], [ParallelLine(str(value), "", [value]) for value in values]).svg
    drawn = re.findall(r'<use [^>]*?y="([\d.]+)"', svg)
    top, bottom = 0.14 * HEIGHT, 0.96 * HEIGHT
    assert [(float(y) - top) / (bottom - top) for y in drawn] == pytest.approx(heights, abs=0.01)


def test_a_missing_value_lifts_the_pen_and_the_winner_lies_on_top() -> None:
    axes = [Axis("a", 0, 1), Axis("b", 0, 1), Axis("c", 0, 1)]
    lines = [ParallelLine("best", "ours", [0, 1, 0]), ParallelLine("other", "", [0, None, 1])]
    drawn = re.findall(r"<title>(\w+)</title>(?:<path d=\"([^\"]*)\")?", plot_parallel(axes, lines).svg)
    assert [(name, path.count("M"), path.count("L")) for name, path in drawn] == [("other", 2, 0), ("best", 1, 2)]
