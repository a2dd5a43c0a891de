"""A report as the rows of a table, for the command line and the page."""

from __future__ import annotations

import math

from xraycls.evaluation.metrics import METRICS, PER_CLASS
from xraycls.evaluation.report import Estimate, Figures, Report
from xraycls.evaluation.thresholds import format_threshold

Table = list[tuple[str, ...]]

_DASH = "\N{EN DASH}"
_FEW, _FEW_A_CLASS = 20, 5  # images, and of one class, below which an interval is a matter of a few of them


def format_value(value: float) -> str:
    """Three decimals; a dash where undefined."""
    return _DASH if math.isnan(value) else f"{value:.3f}"


def format_estimate(estimate: Estimate) -> str:
    """``0.962 (0.948–0.975)``; a dash where undefined."""
    if math.isnan(estimate.value):
        return _DASH
    return f"{estimate.value:.3f} ({estimate.low:.3f}{_DASH}{estimate.high:.3f})"


def caution(report: Report) -> str:
    """What must be said of intervals of so few images; "" where there are enough."""
    smallest = min(report.counts.values())
    if report.n >= _FEW and smallest >= _FEW_A_CLASS:
        return ""
    return f"{report.n} images with {smallest} of the rarest class are few: the intervals say little"


def summary_table(report: Report) -> Table:
    """All figures: a header, then a row a metric.

    Two classes: ("", "at 0.5"), and a column more with an operating threshold, empty where the threshold plays no
    part. More classes: one column, "macro average".
    """
    header = ["", "at 0.5" if report.positive_class else "macro average"]
    if report.operating and report.operating.threshold is not None:
        header.append(f"at {format_threshold(report.operating.threshold)}")
    rows = [tuple(header)]
    for name, metric in METRICS.items():
        cells = [metric.title, format_estimate(report.figures.overall[name])]
        if report.operating:
            cells.append(format_estimate(report.operating.overall[name]) if metric.at_threshold else "")
        rows.append(tuple(cells))
    return rows


def class_table(report: Report, figures: Figures) -> Table:
    """Each class against the rest: a header, then a row a class; at the operating threshold only what it moves."""
    shown = {name: metric for name, metric in PER_CLASS.items() if metric.at_threshold or figures is report.figures}
    header = ("Class", "Images", *(metric.title for metric in shown.values()))
    rows = (
        (title, f"{report.counts[title]:,}", *(format_estimate(row[name]) for name in shown))
        for title, row in figures.per_class.items()
    )
    return [header, *rows]
