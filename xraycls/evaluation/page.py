"""A report as one self-contained HTML page: no script, no link, pictures inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from xraycls.evaluation.metrics import METRICS
from xraycls.evaluation.report import Report
from xraycls.evaluation.summary import Table, class_table, format_threshold, format_value, summary_table

CAPTIONS = {
    "roc": "ROC curve",
    "pr": "Precision against recall",
    "reliability": "Reliability: what a predicted probability turned out to mean",
    "confusion": "Confusion matrix",
    "most_wrong": "The images predicted most wrongly",
}

_STYLE = """
:root { --ink: #1f2933; --grey: #66727f; --line: #e3e8ee; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 68rem; background: #fff; color: var(--ink);
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.75rem; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
p { margin: .25rem 0; max-width: 46rem; }
.quiet { color: var(--grey); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem 1.6rem .42rem 0; border-bottom: 1px solid var(--line); text-align: left;
         vertical-align: top; white-space: nowrap; }
thead th { color: var(--grey); font-weight: 600; }
tbody th { font-weight: 500; }
td small { color: var(--grey); font-size: .85rem; }
.stacked small { display: block; }
.about td { white-space: normal; overflow-wrap: anywhere; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 1.5rem 0; }
.headline b { display: block; color: var(--blue); font-size: 2rem; line-height: 1.2; }
.pictures { columns: 26rem 2; column-gap: 1.5rem; }
figure { margin: 0 0 1.5rem; padding: .5rem; border: 1px solid var(--line); border-radius: 8px; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
"""


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
        "<h1>Test report</h1>",
        f'<p class="quiet">{escape(_images(report))}</p>',
        f'<div class="headline">{_headline(report)}</div>',
        "<h2>Figures</h2>",
        _table(summary_table(report)),
        f'<p class="quiet">{escape(_about_intervals(report))}</p>',
        f"<h2>Each class{_at(report.figures.threshold)}</h2>",
        _table(class_table(report, report.figures), "stacked"),
    ]
    if report.operating:
        parts += [
            f"<h2>Each class{_at(report.operating.threshold)}</h2>",
            _table(class_table(report, report.operating), "stacked"),
        ]
    parts += ["<h2>Pictures</h2>", '<div class="pictures">', *map(_picture, pictures, pictures.values()), "</div>"]
    if metadata:
        parts += ["<h2>About this run</h2>", _about(metadata)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Test report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


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


def _table(table: Table, kind: str = "") -> str:
    header, *rows = table
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join(f"<tr><th>{escape(name)}</th>{''.join(map(_cell, cells))}</tr>" for name, *cells in rows)
    return (
        f'<div class="wide"><table class="{kind}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """A table cell, the interval in small letters."""
    value, bracket, interval = escape(text).partition("(")
    return f"<td>{value}<small>({interval}</small></td>" if bracket else f"<td>{value}</td>"


def _about(metadata: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        return json.dumps(value, default=str) if isinstance(value, dict | list | tuple) else str(value)

    rows = "\n".join(
        f"<tr><th>{escape(str(key))}</th><td>{escape(shown(value))}</td></tr>" for key, value in metadata.items()
    )
    return f'<table class="about"><tbody>\n{rows}\n</tbody></table>'


def _picture(key: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{escape(CAPTIONS[key])}" src="data:image/png;base64,{data}"></figure>'
