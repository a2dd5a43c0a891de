"""A report of findings on disk: test.json, predictions.csv, curves, and one page with a row for each finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.evaluation import style
from xraycls.evaluation.cases import BoolArray, FloatArray
from xraycls.evaluation.decision import Outcomes, decision_plot, outcomes_of, reliability_panels
from xraycls.evaluation.findings import FINDING_METRICS, FindingsReport
from xraycls.evaluation.plots import training_plot
from xraycls.evaluation.report import Estimate
from xraycls.evaluation.subgroups import Subgroup, subgroup_page
from xraycls.evaluation.summary import Table, format_estimate, format_value
from xraycls.evaluation.thresholds import format_threshold
from xraycls.evaluation.write import write_test
from xraycls.page import render
from xraycls.types import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "roc": "ROC curve of each finding",
    "pr": "Precision against recall of each finding",
    "reliability": "Reliability: what a predicted probability turned out to mean",
    "decision": "Decision curves: net benefit of calling from a threshold on",
    "training": "The training of the model",
}
_WIDTH = 6.8  # inches
_HEADLINE = ("auroc", "average_precision", "sensitivity", "specificity")
_SHOWN = (*_HEADLINE, "precision", "f1")
_CALIBRATION = ("brier", "ece", "loss")
_FEW = 5  # images with a finding, below which an interval is a matter of a few of them


def write_findings_report(
    report: FindingsReport,
    predictions: Sequence[Prediction],
    folder: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, float]] = (),
    subgroups: Sequence[Subgroup] = (),
) -> list[Path]:
    """Write everything there is to say about a test; arguments and files as of :func:`.write.write_report`.

    Raises:
        XrayclsError: a file can't be written.
    """
    metadata = metadata or {}
    targets, scored = _arrays(predictions, len(report.classes))
    outcomes = outcomes_of(targets, scored, report.classes)
    pictures = _write_pictures(report, targets, scored, outcomes, folder / "pictures", history)
    page = render_findings(report, pictures, metadata, settings, subgroups)
    return write_test(report, predictions, folder, pictures, page, metadata, subgroups, outcomes)


def findings_table(report: FindingsReport, shown: Sequence[str] = _HEADLINE) -> Table:
    """A header, a row a finding, and two rows of means."""
    titles = [FINDING_METRICS[name].title for name in shown]

    def cells(figures: Mapping[str, Estimate]) -> list[str]:
        return [format_estimate(figures[name]) for name in shown]

    rows: Table = [("Finding", "Present", "Absent", "Threshold", *titles)]
    for name, each in report.findings.items():
        counts = (f"{each.present:,}", f"{each.absent:,}", format_threshold(each.threshold))
        rows.append((name, *counts, *cells(each.figures)))
    rows.append(("Mean", "", "", "", *cells(report.macro)))
    rows.append(("Weighted mean", "", "", "", *cells(report.weighted)))
    return rows


def few_findings(report: FindingsReport) -> str:
    """What must be said of findings that no, every or few images show; "" where there are enough with and without."""
    each = report.findings
    never = [name for name in each if not each[name].present]
    always = [name for name in each if each[name].present and not each[name].absent]
    few = [name for name in each if 0 < each[name].present < _FEW]
    return ". ".join(
        said.format(names=", ".join(names))
        for names, said in (
            (never, "No image is known to be with {names}: figures that need both kinds leave it out"),
            (always, "No image is known to be without {names}: figures that need both kinds leave it out"),
            (few, f"Fewer than {_FEW} images show {{names}}: these intervals say little"),
        )
        if names
    )


def render_findings(
    report: FindingsReport,
    pictures: Mapping[str, Path],
    metadata: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    subgroups: Sequence[Subgroup] = (),
) -> str:
    """The page.

    Args:
        report: what to show.
        pictures: from a key of ``CAPTIONS`` to a PNG file, in the order to show them.
        metadata: what was tested on what, and when.
        settings: of the training; None where they aren't known.
        subgroups: the figures of groups of images.

    Returns:
        HTML; names of findings and files, and metadata, are escaped.
    """
    left_out = f" · {report.unlabelled:,} without a known finding left out" if report.unlabelled else ""
    of = "images" if report.groups is None else f"{report.groups:,} groups of images, such as patients"
    few = f" {said}." if (said := few_findings(report)) else ""
    means = "Means are over the findings of which a figure is defined, the weighted one by the images that show each."
    together = [("", *report.classes)]
    together += [
        (name, *(f"{count:,}" for count in row)) for name, row in zip(report.classes, report.together, strict=True)
    ]
    return render(
        "findings.html",
        images=f"{report.n:,} images, {len(report.classes)} findings{left_out}",
        headline=[(f"Mean {FINDING_METRICS[m].title}", format_value(report.macro[m].value)) for m in _HEADLINE],
        findings=findings_table(report, _SHOWN),
        calibration=findings_table(report, _CALIBRATION),
        together=together,
        subgroups=subgroup_page(subgroups),
        intervals=f"In brackets: 95 % bootstrap intervals, {report.resamples:,} resamples of {of}. {means}{few}",
        pictures=[(CAPTIONS[key], path.read_bytes()) for key, path in pictures.items()],
        metadata=metadata,
        settings=settings or {},
    )


def _arrays(predictions: Sequence[Prediction], findings: int) -> tuple[FloatArray, FloatArray]:
    """Targets and probabilities, float64 [m, F] each, of the m images that could be read."""
    read = [p for p in predictions if p.error is None]
    told = [[np.nan if value is None else value for value in p.findings] for p in read]
    scored = np.array([p.probabilities for p in read], np.float64).reshape(-1, findings)
    return np.array(told, np.float64).reshape(-1, findings), scored


def _write_pictures(
    report: FindingsReport,
    targets: FloatArray,
    scored: FloatArray,
    outcomes: Mapping[str, Outcomes],
    folder: Path,
    history: Sequence[Mapping[str, float]],
) -> dict[str, Path]:
    draw: dict[str, Callable[[], Figure]] = {
        "roc": lambda: _curves(report, targets, scored, "roc"),
        "pr": lambda: _curves(report, targets, scored, "pr"),
        "reliability": lambda: reliability_panels(outcomes),
        "decision": lambda: decision_plot(outcomes),
    }
    if history:
        draw["training"] = lambda: training_plot(history)
    paths = {}
    for name, figure in draw.items():
        paths[name] = folder / f"{name}.png"
        with atomic_write(paths[name]) as temporary:
            style.save(figure(), temporary)
    return paths


def _curves(report: FindingsReport, targets: FloatArray, probabilities: FloatArray, kind: str) -> Figure:
    """One line a finding: sensitivity against 1 - specificity, or precision against sensitivity."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    lines = len(report.classes)
    height = _WIDTH + 0.6 + 0.17 * -(-lines // 2)
    figure = style.new_figure(_WIDTH, height, CAPTIONS[kind], f"{report.n:,} images, {lines} findings")
    axes = figure.subplots()
    style.quiet(axes, *(("1 - specificity", "Sensitivity") if kind == "roc" else ("Sensitivity (recall)", "Precision")))
    style.unit_square(axes)
    name, short = ("auroc", "AUROC") if kind == "roc" else ("average_precision", "AP")
    for index, (finding, each) in enumerate(report.findings.items()):
        known: BoolArray = (targets[:, index] == 0) | (targets[:, index] == 1)
        positive, scores = targets[known, index] == 1, probabilities[known, index]
        if not 0 < positive.sum() < len(positive):
            continue
        if kind == "roc":
            x, y, _ = roc_curve(positive, scores)
        else:
            y, x, _ = precision_recall_curve(positive, scores)
        label = f"{finding}: {short} {format_value(each.figures[name].value)}"
        look = style.series(index) | ({} if kind == "roc" else {"drawstyle": "steps-post"})
        axes.plot(x, y, linewidth=1.6, label=label, **look)
    if not axes.lines:
        style.note(axes, "no curve: no finding is both present and absent")
    style.legend(axes, "lower right" if kind == "roc" else "lower left")
    return figure
