"""The pictures of a detector: precision and recall, and FROC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.evaluation import style
from xraycls.evaluation.detection.froc import RATES
from xraycls.evaluation.detection.summary import format_figure
from xraycls.evaluation.detection.table import DetectionReport
from xraycls.evaluation.thresholds import format_threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PR_CURVE = "PR_curve.png"
"""TAO's name."""

FROC_CURVE = "FROC_curve.png"

_WIDTH = 6.8  # inches


def write_pictures(report: DetectionReport, folder: Path) -> list[Path]:
    """Write ``PR_curve.png`` and ``FROC_curve.png``; the paths written.

    Raises:
        XrayclsError: a file can't be written.
    """
    paths = []
    for name, figure in ((PR_CURVE, detection_pr_plot(report)), (FROC_CURVE, froc_plot(report))):
        with atomic_write(folder / name) as temporary:
            style.save(figure, temporary)
        paths.append(folder / name)
    return paths


def detection_pr_plot(report: DetectionReport) -> Figure:
    """The best precision at each recall or above, a line a class; the area below it is the AP in the legend."""
    below = 0.17 * -(-len(report.curves) // 2) + 0.1 if len(report.curves) > style.WITHIN_AXES else 0.0
    figure = style.new_figure(_WIDTH, _WIDTH + 0.5 + below, "Precision and recall", _subtitle(report))
    axes = figure.subplots()
    style.quiet(axes, "Recall (sensitivity)", "Precision (positive predictive value)")
    style.unit_square(axes)
    if not report.curves:
        style.note(axes, "no curve: there is no box to find")
    for title, curve in report.curves.items():
        shown = f"{title}: AP {format_figure(report.per_class[title]['ap_integrate'])}"
        look = style.series(report.classes.index(title))
        recall, precision = np.append(curve.x, curve.x[-1]), np.append(curve.y, 0)  # beyond the last hit it is 0
        axes.plot(recall, precision, linewidth=2, drawstyle="steps-pre", label=shown, **look)
    style.legend(axes, "lower left")
    return figure


def froc_plot(report: DetectionReport) -> Figure:
    """Sensitivity against false marks per image on a logarithmic axis, with the rates at which it is read."""
    figure = style.new_figure(_WIDTH, 5.6, "FROC curve", _subtitle(report))
    axes = figure.subplots()
    style.quiet(axes, "False positives per image", "Sensitivity")
    axes.set_xscale("log", base=2)
    axes.set(xlim=(RATES[0] / 1.15, RATES[-1] * 1.15), ylim=(-0.012, 1.012))
    axes.set_xticks(RATES, [f"1/{round(1 / rate)}" if rate < 1 else f"{rate:g}" for rate in RATES])
    axes.minorticks_off()
    if np.isnan(report.froc_curve.y).any():
        style.note(axes, "no curve: there is no box to find")
        return figure
    x, y = report.froc_curve.x, report.froc_curve.y
    shown = f"mean sensitivity {format_figure(report.figures['froc'])}"
    axes.plot(np.append(x, 2 * RATES[-1]), np.append(y, y[-1]), color=style.BLUE, linewidth=2, drawstyle="steps-post")
    read = [report.figures[f"froc_{rate:g}"] for rate in RATES]
    axes.vlines(RATES, [e.low for e in read], [e.high for e in read], color=style.BLUE, linewidth=1.2, alpha=0.45)
    axes.plot(RATES, [e.value for e in read], color=style.BLUE, marker="o", linestyle="none", label=shown)
    style.legend(axes, "lower right")
    return figure


def _subtitle(report: DetectionReport) -> str:
    boxes = sum(report.boxes.values())
    rule = "a centre within the box" if report.hit == "centre" else f"IoU ≥ {format_threshold(report.iou_threshold)}"
    return f"{report.images:,} images, {report.negatives:,} without a box · {boxes:,} boxes · {rule}"
