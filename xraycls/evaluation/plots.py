"""The pictures of a report: ROC, precision–recall, reliability and confusion matrix, each a matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xraycls.evaluation import style
from xraycls.evaluation.calibration import reliability_curve
from xraycls.evaluation.cases import BoolArray, FloatArray, IntArray
from xraycls.evaluation.report import Figures, Report
from xraycls.evaluation.summary import format_estimate
from xraycls.evaluation.thresholds import format_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 6.8  # inches


def training_plot(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses of every epoch, and beside them the area under the ROC curve on validation.

    Args:
        history: a mapping an epoch with "epoch", "train_loss" and, where the epoch was validated, "val_loss" and
            "val_auroc", as ``metrics.csv`` has them.
    """
    figure = style.new_figure(2 * _WIDTH, 4.6, "Training", f"{len(history)} epochs")
    for axes, title, names in zip(
        figure.subplots(1, 2),
        ("Loss", "AUROC on validation"),
        (("train_loss", "val_loss"), ("val_auroc",)),
        strict=True,
    ):
        style.quiet(axes, "Epoch", title)
        for index, name in enumerate(names):
            points = [(row["epoch"], row[name]) for row in history if not math.isnan(row.get(name, math.nan))]
            if points:
                label = {"train_loss": "training", "val_loss": "validation"}.get(name)
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label, **style.series(index))
        style.legend(axes, "lower left")
    return figure


def roc_plot(report: Report, labels: IntArray, probabilities: FloatArray) -> Figure:
    """Sensitivity against 1 - specificity, with the area under it, its interval and the operating point.

    Args:
        report: of these very cases.
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C].
    """
    from sklearn.metrics import roc_curve

    figure = _square_figure(report, "ROC curve")
    axes = figure.subplots()
    style.quiet(axes, "1 - specificity", "Sensitivity")
    style.unit_square(axes)
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=(0, (4, 4)))
    for title, line, positive, scores in _curves(axes, report, labels, probabilities):
        false_positive_rate, true_positive_rate, _ = roc_curve(positive, scores)
        shown = f"{title}: AUROC {format_estimate(report.figures.per_class[title]['auroc'])}"
        axes.plot(false_positive_rate, true_positive_rate, linewidth=2, label=shown, **line)
    for figures, marker in _points(report):
        specificity, sensitivity = figures.overall["specificity"].value, figures.overall["sensitivity"].value
        axes.plot(1 - specificity, sensitivity, label=_name(report, figures), **marker)
    style.legend(axes, "lower right")
    return figure


def pr_plot(report: Report, labels: IntArray, probabilities: FloatArray) -> Figure:
    """Precision against sensitivity, with the average precision, its interval and the operating point.

    Args:
        report: of these very cases.
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C].
    """
    from sklearn.metrics import precision_recall_curve

    figure = _square_figure(report, "Precision and recall")
    axes = figure.subplots()
    style.quiet(axes, "Sensitivity (recall)", "Precision (positive predictive value)")
    style.unit_square(axes)
    for title, line, positive, scores in _curves(axes, report, labels, probabilities):
        precision, recall, _ = precision_recall_curve(positive, scores)
        shown = f"{title}: AP {format_estimate(report.figures.per_class[title]['average_precision'])}"
        axes.plot(recall, precision, linewidth=2, drawstyle="steps-post", label=shown, **line)
        if report.positive_class:
            share = float(positive.mean())
            axes.axhline(share, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 4)))
            axes.text(0.0, share + 0.012, f"share of {title}: {share:.3f}", color=style.GREY, size=8.5)
    for figures, marker in _points(report):
        precision_there = figures.per_class[report.classes[1]]["precision"].value
        axes.plot(figures.overall["sensitivity"].value, precision_there, label=_name(report, figures), **marker)
    style.legend(axes, "lower left")
    return figure


def reliability_plot(report: Report, labels: IntArray, probabilities: FloatArray) -> Figure:
    """Observed fraction against predicted probability in equal bins, above a histogram of the probabilities.

    The whiskers are Wilson's 95 % intervals of each observed fraction.

    Args:
        report: of these very cases.
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C].
    """
    judged, outcome = ("confidence", "Fraction correct")
    if report.positive_class:
        judged, outcome = f"probability of {report.positive_class}", f"Fraction {report.positive_class}"
    curve = reliability_curve(labels, probabilities)
    filled = curve.count > 0
    x, y, n = curve.probability[filled], curve.observed[filled], curve.count[filled]
    low, high = _wilson(y, n)

    figure = style.new_figure(_WIDTH, 8.6, "Reliability", _subtitle(report))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    style.quiet(axes, "", outcome)
    axes.set(xlim=(-0.012, 1.012), ylim=(-0.012, 1.012))
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, linestyle=(0, (4, 4)), label="perfect calibration")
    axes.vlines(x, low, high, color=style.BLUE, linewidth=1.2, alpha=0.45)
    shown = f"calibration error {format_estimate(report.figures.overall['ece'])}"
    axes.plot(x, y, color=style.BLUE, linewidth=1.6, marker="o", markersize=5.5, label=shown)
    style.legend(axes, "upper left")
    style.quiet(below, f"Predicted {judged}", "Images")
    below.grid(visible=False, axis="x")
    below.bar(curve.edges[:-1], curve.count, width=0.93 / len(curve.count), align="edge", color=style.BLUE, alpha=0.75)
    return figure


def confusion_plot(report: Report) -> Figure:
    """The confusion matrix, counts and percent of the true class; a second one at the operating threshold."""
    panels = [report.figures, *([report.operating] if report.operating else [])]
    side = max(3.6, 0.62 * len(report.classes)) * (1 if len(panels) > 1 else 1.35)
    figure = style.new_figure(1.4 + side * len(panels), side + 1.7, "Confusion matrix", _subtitle(report))
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, figures in zip(row, panels, strict=True):
        _draw_confusion(axes, report.classes, np.array(figures.confusion))
        if figures.threshold is not None:
            axes.set_title(_name(report, figures), size=10.5, color=style.INK, pad=10)
    return figure


def _draw_confusion(axes: Axes, classes: tuple[str, ...], counts: IntArray) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    blues = LinearSegmentedColormap.from_list("quiet blues", ["#f4f7fa", style.BLUE])
    axes.imshow(share, cmap=blues, vmin=0, vmax=1)
    size = max(8.0, 15 - 0.9 * len(classes))
    for (true, predicted), count in np.ndenumerate(counts):
        part = share[true, predicted]
        cell: dict[str, Any] = {"xy": (predicted, true), "textcoords": "offset points", "ha": "center", "va": "center"}
        cell["color"] = "white" if part > 0.55 else style.INK
        axes.annotate(f"{count:,}", xytext=(0, 0.45 * size), size=size, weight="bold", **cell)
        axes.annotate(f"{part:.1%}", xytext=(0, -0.75 * size), size=0.68 * size, **cell)
    ticks = np.arange(len(classes))
    upright = len(classes) > 4
    axes.set_xticks(ticks, classes, rotation=45 if upright else 0, ha="right" if upright else "center")
    axes.set_yticks(ticks, classes, rotation=0 if upright else 90, va="center")
    axes.set_xticks(ticks[1:] - 0.5, minor=True)
    axes.set_yticks(ticks[1:] - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2.5)
    axes.tick_params(which="both", length=0, labelsize=9.5, labelcolor=style.INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Predicted", color=style.GREY, size=10, labelpad=8)
    axes.set_ylabel("True", color=style.GREY, size=10, labelpad=8)


def _square_figure(report: Report, title: str) -> Figure:
    """A figure for square axes, taller where a legend of many lines goes below them."""
    lines = len(report.classes)
    below = 0.17 * math.ceil(lines / 2) + 0.1 if lines > style.WITHIN_AXES else 0.0
    return style.new_figure(_WIDTH, _WIDTH + 0.5 + below, title, _subtitle(report))


def _curves(
    axes: Axes, report: Report, labels: IntArray, probabilities: FloatArray
) -> Iterator[tuple[str, dict[str, Any], BoolArray, FloatArray]]:
    """Name, line style, "is of it" and scores of each class that has a curve: the positive one, or one of many."""
    columns = [1] if report.positive_class else range(len(report.classes))
    drawn = [c for c in columns if 0 < report.counts[report.classes[c]] < report.n]
    if not drawn:
        style.note(axes, "no curve: the labels hold only one class")
    for c in drawn:
        yield report.classes[c], style.series(c if len(columns) > 1 else 0), labels == c, probabilities[:, c]


def _points(report: Report) -> Iterator[tuple[Figures, dict[str, Any]]]:
    """The points on a two-class curve, at 0.5 and at the operating threshold, with their markers."""
    if report.positive_class and not np.isnan(report.figures.overall["auroc"].value):
        circle = {"marker": "o", "markersize": 8, "linestyle": "none"}
        yield report.figures, {**circle, "color": style.INK, "markerfacecolor": "white"}
        if report.operating:
            yield report.operating, {**circle, "color": style.RED, "markeredgecolor": "white"}


def _name(report: Report, figures: Figures) -> str:
    assert figures.threshold is not None
    kind = "operating threshold" if figures is report.operating else "threshold"
    return f"{kind} {format_threshold(figures.threshold)}"


def _subtitle(report: Report) -> str:
    if report.positive_class:
        return " · ".join(f"{count:,} {title}" for title, count in report.counts.items())
    return f"{report.n:,} images, {len(report.classes)} classes"


def _wilson(fraction: FloatArray, n: IntArray, z: float = 1.959964) -> tuple[FloatArray, FloatArray]:
    """The score interval of a binomial proportion (Wilson, JASA 22, 1927)."""
    centre = (fraction + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(fraction * (1 - fraction) / n + z**2 / (4 * n**2))
    return centre - half, centre + half
