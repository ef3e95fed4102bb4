"""The report of a run: one self-contained HTML page that a person can judge in ten seconds."""

from dakpn.evaluation.report.data import (
    ContenderResult,
    Curve,
    ParameterMap,
    ReportData,
    TranslationExample,
)
from dakpn.evaluation.report.page import render_report

__all__ = [
    "ContenderResult",
    "Curve",
    "ParameterMap",
    "ReportData",
    "TranslationExample",
    "render_report",
]
