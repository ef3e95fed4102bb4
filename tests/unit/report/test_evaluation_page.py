"""The report's part on an evaluation: the curve over labels, the tables, the pictures, and hostile names."""

import dataclasses
import re

import numpy as np
import pytest

from dakpn.config import EvaluateConfig
from dakpn.config_file import build_config
from dakpn.errors import DataError
from dakpn.report import (
    AgainstRow,
    Comparison,
    ContactRow,
    EvaluationDetail,
    LabelCurve,
    LabelPoint,
    MeasureRow,
    ReportData,
    WorstCase,
    render_report,
)
from dakpn.report.evaluation_page import EvaluationResults, contender_results, evaluation_detail
from dakpn.report.plots import plot_labels
from dakpn.report.standings import lay_out
from dakpn.report.verdict import judge
from tests.unit.report.test_report import HOSTILE, Page, assert_nothing_outside

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
CURVES = [
    LabelCurve("source-only", "source_only", [LabelPoint(0, 0.20, 0.19, 0.21), LabelPoint(10, 0.28, 0.26, 0.30)]),
    LabelCurve("DA-KPN", "ours", [LabelPoint(0, 0.27, 0.25, 0.29), LabelPoint(10, 0.31, 0.30, 0.33)]),
    LabelCurve("real-only", "other", [LabelPoint(10, 0.22)]),
]


def detail(name: str = "DA-KPN") -> EvaluationDetail:
    texts = {field.name: f"{number}.5" for number, field in enumerate(dataclasses.fields(MeasureRow))}
    return EvaluationDetail(
        label_curves=[dataclasses.replace(CURVES[1], name=name), *CURVES],
        comparisons=[
            Comparison(name, "ours", 10, 9, "31.0 ± 1.2", "+3.0 [+1.0 to +4.0]", "+0.5 [−0.2 to +1.1]", name, ["29.5"])
        ],
        sequences=[name],
        against_each=[AgainstRow(name, "baseline", ["+1.7 [+0.3 to +2.2]"])],
        label_counts=[10],
        measures=[MeasureRow(**texts | {"contender": name, "role": "ours"})],
        measured_on=f"24 images, FD({name}@0011)",
        contact=[ContactRow(name, [PICTURE, PICTURE]), ContactRow("Nearest real images", [PICTURE, PICTURE])],
        worst=[WorstCase(name, f"{name}/7", PICTURE, 255 - PICTURE, np.zeros((24, 32), np.uint8), 0.8, 0.3)],
    )


def test_the_page_shows_curves_tables_and_pictures() -> None:
    html = render_report(ReportData("t", class_names=["sky"], detail=detail()))
    page = Page(html)
    assert not page.open
    for words in (
        "Few real labels", "Contact sheet", "Nearest real images", "Paired comparisons", "+3.0 [+1.0 to +4.0]",
        "29.5", "DA-KPN against", "10 real labels", "+1.7 [+0.3 to +2.2]",
        "FD(DA-KPN@0011)", "Worst cases", "80 % of the pixels agreed, 30 % do now", "real labelled images",
    ):  # fmt: skip
        assert words in page.text, words
    assert sum(tag == "img" for tag, _ in page.tags) == 2 + 2 + 3
    assert "No translated example yet" not in page.text


def test_headline_and_tables_say_the_same() -> None:
    """Known numbers: gains of 2, 4 and 3 points, so +3.0 with a 95 % interval of 2.5 to either side."""
    scores = {
        "source-only": (0.20, 0.30, 0.25), "FDA": (0.215, 0.32, 0.272), "real-only": (0.5, 0.5, 0.5),
        "bank": (0.30, 0.30, 0.30), "DA-KPN": (0.22, 0.34, 0.28),
    }  # fmt: skip
    kinds = {
        "source-only": {"kind": "source_only"}, "FDA": {"kind": "fda"}, "real-only": {"kind": "real_only"},
        "bank": {"kind": "dakpn", "weights": "w"}, "DA-KPN": {"kind": "dakpn", "weights": "w"},
    }  # fmt: skip
    values = {"output": "out", "real_test": "test", "seeds": [0, 1, 2], "contenders": kinds}
    config = build_config(EvaluateConfig, values | {"real_labelled": {"dataset": "labelled"}})
    cells = [
        {"contender": name, "real_labelled": 0, "draw": 0, "seed": seed, "miou": miou, "pixel_accuracy": 0.5,
         "per_class_iou": [miou]}
        for name, mious in scores.items() for seed, miou in enumerate(mious)
    ]  # fmt: skip
    results = EvaluationResults("out", config, cells, [], {})
    verdict, tables = judge(contender_results(results)), evaluation_detail(results)
    assert verdict.tone == "gain"
    assert verdict.sentence == "DA-KPN scores 28.0\u00a0% mIoU, 3.0 points above source-only."
    assert "+3.0 points, 95\u00a0% interval +0.5 to +5.5 (paired t over 3 seeds)" in verdict.remarks[0]
    rows = {row.contender: row for row in tables.comparisons}
    assert rows["DA-KPN"].against_source_only == "+3.0 [+0.5 to +5.5]"
    standing = next(row for row in lay_out(contender_results(results)).rows if row.name == "DA-KPN")
    assert standing.gain == rows["DA-KPN"].against_source_only
    # The best of the others is a baseline: neither a net that saw real labels nor another contender of ours.
    assert rows["DA-KPN"].best_other == "FDA"
    assert "Best baseline: FDA with 26.9\u00a0%" in verdict.remarks[1]
    assert f"(difference {rows['DA-KPN'].against_best_other})" in verdict.remarks[1]
    assert [row.contender for row in tables.against_each] == ["source-only", "FDA", "real-only", "bank"]


def test_names_stay_text_and_nothing_points_outside() -> None:
    html = render_report(ReportData("t", detail=detail(HOSTILE)))
    page = Page(html)
    assert not page.open
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert_nothing_outside(page, html)


def points_of(svg: str) -> dict[str, tuple[float, float]]:
    """Where each point stands, by the words over it."""
    found = re.findall(r'<title>([^<]*)</title>(?:<defs>.*?</defs>)?<g><use [^>]*?x="([\d.]+)" y="([\d.]+)"', svg)
    return {text: (float(x), float(y)) for text, x, y in found}


def test_higher_scores_are_drawn_higher_and_numbers_of_labels_from_left_to_right() -> None:
    plot = plot_labels(CURVES)
    assert plot is not None
    assert plot.svg_on_phones is not None
    for svg in (plot.svg, plot.svg_on_phones):
        points = points_of(svg)
        (ours_0, ours_10), (source_0, source_10) = (
            (points[f"{name}, 0 real labelled: {first}"], points[f"{name}, 10 real labelled: {second}"])
            for name, first, second in (
                ("DA-KPN", "27.0 % (25.0 to 29.0)", "31.0 % (30.0 to 33.0)"),
                ("source-only", "20.0 % (19.0 to 21.0)", "28.0 % (26.0 to 30.0)"),
            )
        )
        assert ours_0[1] < source_0[1]
        assert ours_10[1] < source_10[1]
        assert ours_0[0] < ours_10[0]
        assert "real-only, 10 real labelled: 22.0 % (one seed, no interval)" in points
        assert len(points) == 5
    assert [(entry.color, entry.mark) for entry in plot.legend] == [("source", "■"), ("ours", "●"), ("c1", "▲")]


def test_one_number_of_labels_is_no_curve() -> None:
    assert plot_labels([LabelCurve("a", "ours", [LabelPoint(0, 0.2)])]) is None
    assert plot_labels([]) is None


def test_pictures_of_other_kinds_are_refused() -> None:
    with pytest.raises(DataError, match="picture 0 of sheet is float64"):
        ContactRow("sheet", [PICTURE / 255])
    with pytest.raises(DataError, match="prediction is int64"):
        WorstCase("a", "k", PICTURE, PICTURE, np.zeros((2, 2), int), 1, 0)
