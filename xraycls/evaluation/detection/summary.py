"""A report as the rows of a table, for the command line."""

from __future__ import annotations

import math

from xraycls.evaluation.detection.table import FIGURES, PER_CLASS, DetectionReport
from xraycls.evaluation.report import Estimate
from xraycls.evaluation.summary import Table, format_estimate, format_value
from xraycls.evaluation.thresholds import format_threshold


def format_figure(estimate: Estimate) -> str:
    """``0.962 (0.948–0.975)``, without the parentheses where there is no interval; a dash where undefined."""
    return format_value(estimate.value) if math.isnan(estimate.low) else format_estimate(estimate)


def detection_table(report: DetectionReport) -> Table:
    """All figures: a header, then a row a figure."""
    header = ("", f"IoU {format_threshold(report.iou_threshold)}")
    return [header, *((FIGURES[name], format_figure(estimate)) for name, estimate in report.figures.items())]


def detection_class_table(report: DetectionReport) -> Table:
    """Each class: a header, then a row a class."""
    header = ("Class", "Boxes", *PER_CLASS.values())
    rows = (
        (title, f"{report.boxes[title]:,}", *(format_figure(row[name]) for name in PER_CLASS))
        for title, row in report.per_class.items()
    )
    return [header, *rows]
