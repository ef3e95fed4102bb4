"""The report of a run: one self-contained HTML page that a person can judge in ten seconds."""

from dakpn.report.data import (
    Comparison,
    ContactRow,
    ContenderResult,
    Curve,
    EvaluationDetail,
    LabelCurve,
    LabelPoint,
    MeasureRow,
    ParameterMap,
    ReportData,
    RivalRow,
    TranslationExample,
    WorstCase,
)
from dakpn.report.page import render_report

__all__ = [
    "Comparison",
    "ContactRow",
    "ContenderResult",
    "Curve",
    "EvaluationDetail",
    "LabelCurve",
    "LabelPoint",
    "MeasureRow",
    "ParameterMap",
    "ReportData",
    "RivalRow",
    "TranslationExample",
    "WorstCase",
    "render_report",
]
