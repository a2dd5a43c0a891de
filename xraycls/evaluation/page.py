"""A report as one self-contained HTML page: no script, no link, pictures inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xraycls.evaluation.metrics import METRICS
from xraycls.evaluation.report import Report
from xraycls.evaluation.summary import caution, class_table, format_threshold, format_value, summary_table
from xraycls.page import render

CAPTIONS = {
    "roc": "ROC curve",
    "pr": "Precision against recall",
    "reliability": "Reliability: what a predicted probability turned out to mean",
    "confusion": "Confusion matrix",
    "most_wrong": "The images predicted most wrongly",
    "training": "The training of the model",
}

_HEADLINE = ("auroc", "sensitivity", "specificity", "balanced_accuracy")


def render_page(
    report: Report, pictures: Mapping[str, Path], metadata: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> str:
    """The page.

    Args:
        report: what to show.
        pictures: from a key of ``CAPTIONS`` to a PNG file, in the order to show them.
        metadata: what was tested on what, and when; a row each, nested values as JSON.
        settings: of the training; None where they aren't known.

    Returns:
        HTML; names of classes and files, and metadata, are escaped.
    """
    figures = [report.figures, *([report.operating] if report.operating else [])]
    return render(
        "report.html",
        images=_images(report),
        headline=_headline(report),
        summary=summary_table(report),
        intervals=_about_intervals(report),
        classes=[(_at(each.threshold), class_table(report, each)) for each in figures],
        pictures=[(CAPTIONS[key], path.read_bytes()) for key, path in pictures.items()],
        metadata=metadata,
        settings=settings or {},
    )


def _images(report: Report) -> str:
    counted = " · ".join(f"{count:,} {title}" for title, count in report.counts.items())
    left_out = f" · {report.unlabelled:,} without a label left out" if report.unlabelled else ""
    return f"{report.n:,} images: {counted}{left_out}"


def _headline(report: Report) -> list[tuple[str, str]]:
    """Titles and values of the figures that a reader looks for first."""
    figures = report.operating or report.figures
    named = [(METRICS[name], figures.overall[name]) for name in _HEADLINE]
    where = _at(figures.threshold)
    return [(m.title + where * m.at_threshold, format_value(figure.value)) for m, figure in named]


def _at(threshold: float | None) -> str:
    return "" if threshold is None else f" at {format_threshold(threshold)}"


def _about_intervals(report: Report) -> str:
    of = "images" if report.groups is None else f"{report.groups:,} groups of images, such as patients"
    positive = f" The positive class is {report.positive_class}." if report.positive_class else ""
    few = f" {said}." if (said := caution(report)) else ""
    return f"In brackets: 95 % bootstrap intervals, {report.resamples:,} resamples of {of}.{positive}{few}"
