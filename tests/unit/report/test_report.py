"""The report: what it says, what it refuses to say, and that nothing in it reaches outside."""

import base64
import dataclasses
import hashlib
import io
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dakpn.errors import DataError
from dakpn.evaluation.statistics import Role
from dakpn.report import (
    ContenderResult,
    Curve,
    ParameterMap,
    ReportData,
    TranslationExample,
    render_report,
)
from dakpn.report import page as page_module
from dakpn.report.pictures import LARGE, diverging, fit, map_uri, overlay_uri, picture_uri
from dakpn.report.plots import number, plot_curves, round_ticks
from dakpn.report.verdict import judge
from dakpn.wording import duration

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>"
VOID_TAGS = {"meta", "link", "img", "input"}


class Page(HTMLParser):
    """Collects the attributes and texts of a page, and checks that its tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def contender(name: str, *miou: float, role: Role = "baseline") -> ContenderResult:
    return ContenderResult(
        name=name,
        seeds=list(range(len(miou))),
        miou=list(miou),
        per_class_iou=[[score, None, score / 2] for score in miou],
        pixel_accuracy=[0.7] * len(miou),
        role=role,
    )


def example(key: str = "seq/0001", size: tuple[int, int] = (24, 32)) -> TranslationExample:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    label = rng.integers(0, 3, size, dtype=np.uint8)
    label[0] = 255
    gain = ParameterMap(np.full(size, 1.1, np.float32), low=0.3, high=1.7, center=1.0, unit="x")
    return TranslationExample(key, before, 255 - before, label, {"saturation gain": gain})


SOURCE_ONLY = contender("source-only", 0.195, 0.193, 0.203, role="source_only")
OURS = contender("DA-KPN", 0.255, 0.290, 0.269, role="ours")
ORACLE = contender("oracle", 0.359, 0.359, 0.339, role="oracle")

FULL = ReportData(
    title="procroad to CamVid",
    subtitle="road scenes",
    created="2026-01-02 03:04 UTC",
    notices=["The target domain is simulated."],
    examples=[example()],
    real_samples=[np.full((24, 32, 3), 90, np.uint8)] * 2,
    class_names=["sky", "building", "road"],
    class_colors=[(128, 160, 220), (128, 70, 70), (128, 64, 128)],
    curves={
        "patch": Curve(list(range(200)), [math.sin(i / 9) for i in range(200)], "adversarial"),
        "identity": Curve([0, 10], [1.0, 1e-4], "identity"),
    },
    contenders=[SOURCE_ONLY, contender("FDA", 0.23, 0.239, 0.238), OURS, ORACLE],
    protocol={"split": "blocks"},
    digests={"weights": "sha256:00ff"},
    config_yaml="training:\n  steps: 200\n",
    timings={"train": 200.0},
)


def test_only_a_title_is_required() -> None:
    page = Page(render_report(ReportData("A run")))
    assert not page.open
    assert "A run" in page.text
    for sentence in ("No verdict yet", "No translated example yet", "No segmentation net", "No curve"):
        assert sentence in page.text
    assert "How this was made" not in page.text


def test_a_full_page_shows_every_part() -> None:
    page = Page(render_report(FULL))
    assert not page.open
    for words in (
        "procroad to CamVid", "road scenes", "2026-01-02", "The target domain is simulated.", "seq/0001",
        "saturation gain", "visible change", "source-only", "FDA", "oracle", "building", "blocks",
        "sha256:00ff", "steps: 200", "3 min 20 s", "adversarial", "log scale",
    ):  # fmt: skip
        assert words in page.text
    assert page.text.index("DA-KPN scores 27.1") < page.text.index("Side by side")


def test_mid_run_page_has_pictures_and_no_scores() -> None:
    page = Page(render_report(dataclasses.replace(FULL, contenders=())))
    assert "No verdict yet: this report holds no segmentation scores." in page.text
    assert "No segmentation net has been scored yet." in page.text
    assert "seq/0001" in page.text
    assert "Class by class" not in page.text


def test_contenders_still_without_a_score_are_no_verdict() -> None:
    running = [
        ContenderResult("source-only", [], [], role="source_only"),
        ContenderResult("DA-KPN", [], [], role="ours"),
    ]
    assert judge(running).tone == "pending"
    assert "No verdict yet" in Page(render_report(ReportData("t", contenders=running))).text


def test_hostile_strings_stay_text() -> None:
    hostile_map = ParameterMap(np.zeros((24, 32)), -1.0, 1.0, 0.0, unit=HOSTILE)
    shown = dataclasses.replace(example(HOSTILE), maps={HOSTILE: hostile_map})
    names = [
        dataclasses.replace(SOURCE_ONLY, name=HOSTILE),
        dataclasses.replace(OURS, name=HOSTILE),
        dataclasses.replace(ORACLE, name=HOSTILE),
    ]
    report = ReportData(
        title=HOSTILE, subtitle=HOSTILE, created=HOSTILE, notices=[HOSTILE], examples=[shown],
        real_samples=FULL.real_samples, class_names=[HOSTILE] * 3, contenders=names,
        curves={HOSTILE: Curve([1], [1.0], HOSTILE)}, protocol={HOSTILE: HOSTILE}, digests={HOSTILE: HOSTILE},
        config_yaml=HOSTILE, timings={HOSTILE: 1.0}, source_name=HOSTILE, target_name=HOSTILE,
    )  # fmt: skip
    page = Page(render_report(report))
    assert not page.open
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert_nothing_outside(page, render_report(report))


def test_nothing_on_the_page_points_outside() -> None:
    html = render_report(FULL)
    assert_nothing_outside(Page(html), html)
    assert "http" not in html.replace("http-equiv", "")


def assert_nothing_outside(page: Page, html: str) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
        assert "url(" not in (attributes.get("style") or "")
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_policy_allows_only_the_script_of_the_page() -> None:
    html = render_report(FULL)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(a["content"] or "" for t, a in Page(html).tags if "Content-Security" in str(a.get("http-equiv")))
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


# --- the verdict


def test_verdict_on_a_clear_gain() -> None:
    verdict = judge([SOURCE_ONLY, OURS, ORACLE])
    assert verdict.tone == "gain"
    assert verdict.sentence == "DA-KPN scores 27.1\u00a0% mIoU, 7.4 points above source-only."
    gap = next(figure for figure in verdict.figures if figure.label == "gap closed")
    assert gap.value == "48\u00a0%"


def test_verdict_within_the_seed_spread_claims_nothing() -> None:
    verdict = judge([SOURCE_ONLY, contender("DA-KPN", 0.18, 0.24, 0.21, role="ours"), ORACLE])
    assert verdict.tone == "unclear"
    assert "not distinguishable at this number of seeds (3)" in verdict.sentence
    assert "above" not in verdict.sentence
    assert all(figure.label != "gap closed" for figure in verdict.figures)


def test_verdict_on_a_loss() -> None:
    verdict = judge([SOURCE_ONLY, contender("DA-KPN", 0.150, 0.152, 0.151, role="ours")])
    assert verdict.tone == "loss"
    assert "4.6 points below source-only" in verdict.sentence


@pytest.mark.parametrize("score", [0.30, 0.20])
def test_one_seed_never_makes_a_verdict(score: float) -> None:
    verdict = judge([contender("source-only", 0.2, role="source_only"), contender("DA-KPN", score, role="ours")])
    assert verdict.tone == "unclear"
    assert "With one seed, nothing shows whether that difference would repeat." in verdict.sentence


def test_verdict_names_a_baseline_that_is_as_good() -> None:
    baseline = contender("Reinhard", 0.247, 0.258, 0.247)
    remarks = " ".join(judge([SOURCE_ONLY, baseline, OURS]).remarks)
    assert "Reinhard with 25.1\u00a0%, which is not distinguishable from DA-KPN" in remarks


def test_verdict_without_a_baseline_makes_no_comparison() -> None:
    verdict = judge([OURS, ORACLE])
    assert verdict.tone == "pending"
    assert "cannot say what it gains" in verdict.remarks[0]


def test_seeds_without_a_finite_score_are_left_out_and_named() -> None:
    broken = contender("DA-KPN", 0.255, math.nan, 0.269, role="ours")
    verdict = judge([SOURCE_ONLY, broken])
    assert "26.2" in verdict.sentence
    assert "DA-KPN: 1 of 3 seeds without a finite score, left out." in verdict.remarks
    assert "not finite" in Page(render_report(ReportData("t", contenders=[SOURCE_ONLY, broken]))).text


def test_verdict_pairs_seeds() -> None:
    """Seeds differ by ten points, and every one of them gains about two: paired, that is a gain."""
    verdict = judge(
        [
            contender("source-only", 0.20, 0.30, 0.25, role="source_only"),
            contender("DA-KPN", 0.221, 0.320, 0.269, role="ours"),
        ]
    )
    assert verdict.tone == "gain"
    assert verdict.remarks[0] == (
        "The difference is +2.0 points, 95\u00a0% interval +1.8 to +2.2 (paired t over 3 seeds)."
    )


def test_contenders_without_a_common_seed_are_not_compared() -> None:
    ours = ContenderResult("DA-KPN", [7, 8, 9], [0.3, 0.31, 0.32], role="ours")
    verdict = judge([SOURCE_ONLY, ours, contender("FDA", 0.2, 0.2, 0.2)])
    assert verdict.tone == "unclear"
    assert "no seed in common: not compared" in verdict.sentence
    assert verdict.remarks == ("Best baseline: FDA with 20.0\u00a0%, with no seed in common.",)


# --- plots


def test_not_finite_losses_leave_a_gap_and_are_counted() -> None:
    values = [1.0, 2.0, math.nan, math.inf, 3.0, math.nan, 2.0, 1.0]
    plot = plot_curves({"loss": Curve(list(range(8)), values, "g")})[0]
    assert plot.legend[0].not_finite == 3
    line = re.search(r"<g><title>loss: 1</title><path d=\"([^\"]*)\"", plot.svg)
    assert line is not None
    assert line[1].count("M") == 3
    assert line[1].count("L") == 2  # the lone point between is a dot
    assert len(re.findall("<use ", plot.svg)) == 1
    assert "3 not finite" in Page(render_report(ReportData("t", curves={"l": Curve(range(8), values)}))).text


@pytest.mark.parametrize("values", [[], [math.nan], [2.0], [0.0, 0.0], [1e-9, 1e9], [-5.0, 5.0]])
def test_any_curve_can_be_drawn(values: list[float]) -> None:
    html = render_report(ReportData("t", curves={"l": Curve(list(range(len(values))), values)}))
    assert not re.search(r'(?:d|x|y)="[^"]*(?:nan|inf)', html)


def test_long_curves_keep_their_spikes() -> None:
    values = [0.0] * 100_000
    values[54_321] = 7.0
    svg = plot_curves({"l": Curve(list(range(len(values))), values)})[0].svg
    assert len(svg) < 40_000
    heights = [float(y) for path in re.findall(r' d="([^"]*)"', svg) for y in re.findall(r"[ML] \S+ (\S+)", path)]
    assert min(heights) < 25


def test_the_same_data_give_the_same_bytes_whatever_the_reader_has_set() -> None:
    import matplotlib

    first = render_report(FULL)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert render_report(FULL) == first
    assert "Matplotlib v" not in first


def test_commands_do_not_wait_for_the_plotting_library() -> None:
    code = "import sys, workflows.cli, dakpn.report; sys.exit(bool({'matplotlib', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_plots_follow_the_page_into_the_dark_and_show_names_as_they_are() -> None:
    svg = plot_curves({"cost $x^2$ & $y$": Curve([0, 1], [1.0, 2.0], "g")})[0].svg
    assert "<title>cost $x^2$ &amp; $y$: 2</title>" in svg
    colors = set(re.findall(r"(?:stroke|fill):([^;\"]*)", svg)) - {"none"}
    assert colors
    assert all(color.startswith("var(--") for color in colors)
    style = (Path(page_module.__file__).parent / "style.css").read_text()
    for color in colors:
        assert style.count(f"{color.removeprefix('var(').removesuffix(')')}: #") == 2, color  # by day and in the dark


def test_ticks_are_round_numbers() -> None:
    assert round_ticks(0.0, 0.37, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [number(v) for v in (12_000, 0.05, -3, 2_500_000, 0)] == ["12k", "0.05", "\u22123", "2.5M", "0"]
    assert [number(v, 2) for v in (224.0, 61.4, 0.256)] == ["224", "61", "0.26"]
    assert [duration(v) for v in (0.84, 59.0, 200, 7500, math.nan)] == [
        "0.8 s", "59 s", "3 min 20 s", "2 h 5 min", "unknown",
    ]  # fmt: skip


# --- pictures


def decode(uri: str) -> np.ndarray:
    header, _, data = uri.partition(",")
    assert header in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_small_pictures_grow_by_whole_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 200, 3), dtype=np.uint8)
    shown = fit(image, LARGE)
    assert shown.shape == (27, 600, 3)
    np.testing.assert_array_equal(shown[1::3, 1::3], image)


def test_large_noisy_pictures_stay_within_the_budget() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1024, 2048, 3), dtype=np.uint8)
    uri = picture_uri(image, LARGE)
    assert decode(uri).shape == (440, 880, 3)
    assert len(uri) < 1.4 * LARGE.max_bytes


def test_identity_is_pale_and_sides_differ() -> None:
    values = np.array([[0.3, 1.0, 1.7, math.nan, 9.0]], np.float32)
    row = decode(map_uri(ParameterMap(values, 0.3, 1.7, 1.0)))[0]
    assert tuple(row[1]) == diverging(0.0)
    assert tuple(row[0]) == diverging(-1.0)
    assert tuple(row[2]) == tuple(row[4]) == diverging(1.0)
    assert tuple(row[3]) == (128, 128, 128)


def test_ignored_pixels_stay_bare_under_the_label() -> None:
    image = np.full((24, 512, 3), 100, np.uint8)
    label = np.zeros((24, 512), np.uint8)
    label[:, 256:] = 255
    shown = decode(overlay_uri(image, label, [(255, 0, 0)]))
    assert tuple(shown[12, 400]) == (100, 100, 100)
    assert shown[12, 100, 0] > 140 > 90 > shown[12, 100, 1]


# --- what the data refuse


def test_pictures_of_different_sizes_are_refused() -> None:
    good = example()
    with pytest.raises(DataError, match=r"'seq/0001'.*same size"):
        dataclasses.replace(good, after=good.after[1:])
    with pytest.raises(DataError, match="uint8 picture"):
        ReportData("t", real_samples=[np.zeros((4, 4, 3), np.float32)])


def test_scores_in_percent_are_refused() -> None:
    with pytest.raises(DataError, match=r"fractions 0\.\.1, not percent"):
        contender("DA-KPN", 27.1)
    with pytest.raises(DataError, match="one a seed"):
        ContenderResult("DA-KPN", [0, 1], [0.2])


def test_scale_without_extent_is_refused() -> None:
    with pytest.raises(DataError, match="low < high"):
        ParameterMap(np.zeros((2, 2)), 1.0, 1.0, 1.0)
