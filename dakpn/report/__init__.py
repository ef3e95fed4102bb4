"""The report of a run: one self-contained HTML page that a person can judge in ten seconds."""

from dakpn.report.data import (
    AgainstRow,
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
    TranslationExample,
    WorstCase,
)
from dakpn.report.page import render_report

__all__ = [
    "AgainstRow",
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
    "TranslationExample",
    "WorstCase",
    "render_report",
]
