"""A report as one self-contained HTML page: no script, no link, pictures inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from xraycls.evaluation.metrics import METRICS
from xraycls.evaluation.report import Report
from xraycls.evaluation.summary import class_table, format_threshold, format_value, summary_table
from xraycls.page import facts, figure, page, table

CAPTIONS = {
    "roc": "ROC curve",
    "pr": "Precision against recall",
    "reliability": "Reliability: what a predicted probability turned out to mean",
    "confusion": "Confusion matrix",
    "most_wrong": "The images predicted most wrongly",
}


def render_page(report: Report, pictures: Mapping[str, Path], metadata: Mapping[str, Any]) -> str:
    """The page.

    Args:
        report: what to show.
        pictures: from a key of ``CAPTIONS`` to a PNG file, in the order to show them.
        metadata: what was tested on what; a row each, nested values as JSON.

    Returns:
        HTML; names of classes and files, and metadata, are escaped.
    """
    parts = [
        f'<p class="quiet">{escape(_images(report))}</p>',
        f'<div class="headline">{_headline(report)}</div>',
        "<h2>Figures</h2>",
        table(summary_table(report)),
        f'<p class="quiet">{escape(_about_intervals(report))}</p>',
        f"<h2>Each class{_at(report.figures.threshold)}</h2>",
        table(class_table(report, report.figures), "stacked"),
    ]
    if report.operating:
        parts += [
            f"<h2>Each class{_at(report.operating.threshold)}</h2>",
            table(class_table(report, report.operating), "stacked"),
        ]
    parts += ["<h2>Pictures</h2>", '<div class="pictures">', *map(_picture, pictures, pictures.values()), "</div>"]
    if metadata:
        parts += ["<h2>About this run</h2>", facts(metadata)]
    return page("Test report", parts)


def _images(report: Report) -> str:
    counted = " · ".join(f"{count:,} {title}" for title, count in report.counts.items())
    left_out = f" · {report.unlabelled:,} without a label left out" if report.unlabelled else ""
    return f"{report.n:,} images: {counted}{left_out}"


def _headline(report: Report) -> str:
    figures = report.operating or report.figures
    blocks = []
    for name in ("auroc", "sensitivity", "specificity", "balanced_accuracy"):
        metric = METRICS[name]
        where = _at(figures.threshold) if metric.at_threshold else ""
        blocks.append(f"<div><b>{format_value(figures.overall[name].value)}</b>{metric.title}{where}</div>")
    return "".join(blocks)


def _at(threshold: float | None) -> str:
    return "" if threshold is None else f" at {format_threshold(threshold)}"


def _about_intervals(report: Report) -> str:
    of = "images" if report.groups is None else f"{report.groups:,} groups of images, such as patients"
    positive = f" The positive class is {report.positive_class}." if report.positive_class else ""
    return f"In brackets: 95 % bootstrap intervals, {report.resamples:,} resamples of {of}.{positive}"


def _picture(key: str, path: Path) -> str:
    return figure(path.read_bytes(), CAPTIONS[key])
