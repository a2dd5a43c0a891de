"""A report on disk: test.json, predictions.csv, pictures and one page that shows it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.data.rows import write_rows
from xraycls.evaluation import style
from xraycls.evaluation.cases import as_arrays
from xraycls.evaluation.decision import (
    DECISION_HEADER,
    RELIABILITY_HEADER,
    Outcomes,
    decision_plot,
    decision_rows,
    outcomes_of,
    reliability_rows,
)
from xraycls.evaluation.metrics import METRICS
from xraycls.evaluation.mistakes import ImageOf, most_wrong, most_wrong_plot
from xraycls.evaluation.plots import confusion_plot, pr_plot, reliability_plot, roc_plot, training_plot
from xraycls.evaluation.predictions import write_predictions
from xraycls.evaluation.report import Report, without_nan
from xraycls.evaluation.subgroups import Subgroup, subgroup_page, subgroup_rows
from xraycls.evaluation.summary import caution, class_table, format_value, summary_table
from xraycls.evaluation.thresholds import format_threshold
from xraycls.page import render
from xraycls.types import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xraycls.evaluation.findings import FindingsReport

CAPTIONS = {
    "roc": "ROC curve",
    "pr": "Precision against recall",
    "reliability": "Reliability: what a predicted probability turned out to mean",
    "confusion": "Confusion matrix",
    "most_wrong": "The images predicted most wrongly",
    "decision": "Decision curve: net benefit of calling from a threshold on",
    "training": "The training of the model",
}

_HEADLINE = ("auroc", "sensitivity", "specificity", "balanced_accuracy")


def write_report(
    report: Report,
    predictions: Sequence[Prediction],
    folder: Path,
    *,
    image_of: ImageOf | None = None,
    metadata: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, float]] = (),
    subgroups: Sequence[Subgroup] = (),
) -> list[Path]:
    """Write everything there is to say about a test.

    Args:
        report: of the labelled ones among ``predictions``.
        predictions: one an image, those that could not be read included.
        folder: ``test.json``, ``predictions.csv`` and ``report.html`` go there, the pictures into ``pictures/``.
        image_of: from a row of ``predictions`` to its picture, uint8 [H, W], for the contact sheet of the most wrong
            images; there is no sheet without it, nor when no image is wrong.
        metadata: what was tested on what; JSON values, under "metadata" in ``test.json``.
        settings: of the training, for the page.
        history: its rows of ``metrics.csv``, for a picture of the curves.
        subgroups: the figures of groups of images, for the page, ``test.json`` and ``subgroups.csv``.

    Returns:
        The files written, the JSON last: where it is, the rest is complete.

    Raises:
        XrayclsError: a file can't be written.
    """
    metadata = metadata or {}
    pictures = _write_pictures(report, predictions, folder / "pictures", image_of, history)
    page = render_page(report, pictures, metadata, settings, subgroups)
    outcomes = _outcomes(report, predictions)
    return write_test(report, predictions, folder, pictures, page, metadata, subgroups, outcomes)


def write_test(
    report: Report | FindingsReport,
    predictions: Sequence[Prediction],
    folder: Path,
    pictures: Mapping[str, Path],
    page: str,
    metadata: Mapping[str, Any],
    subgroups: Sequence[Subgroup] = (),
    outcomes: Mapping[str, Outcomes] | None = None,
) -> list[Path]:
    """Write the page, the predictions and the figures of a test, whose pictures are there; arguments as above.

    Returns:
        The files, the pictures first and the JSON last.

    Raises:
        XrayclsError: a file can't be written.
    """
    with atomic_write(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    adjusted = str(metadata.get("adjusted", ""))
    rows = write_predictions(predictions, report.classes, folder / "predictions.csv", adjusted)
    figures = folder / "test.json"
    unreadable = sum(prediction.error is not None for prediction in predictions)
    groups = {"subgroups": [each.to_dict() for each in subgroups]} if subgroups else {}
    content = {**report.to_dict(), **groups, "unreadable": unreadable, "metadata": without_nan(metadata)}
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
        "subgroups.csv": subgroup_rows(subgroups) if subgroups else ([], []),
        "decision_curve.csv": (DECISION_HEADER, decision_rows(outcomes or {})),
        "reliability.csv": (RELIABILITY_HEADER, reliability_rows(outcomes or {})),
    }
    for name, (header, lines) in tables.items():
        if lines:
            write_rows(folder / name, header, lines)
        else:
            (folder / name).unlink(missing_ok=True)  # an earlier test may have left one
    others = [folder / name for name, (_, lines) in tables.items() if lines]
    with atomic_write(figures) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")
    return [*pictures.values(), folder / "report.html", rows, *others, figures]


def _outcomes(report: Report, predictions: Sequence[Prediction]) -> dict[str, Outcomes]:
    """The cases of the positive one of two classes; none of more classes."""
    labels, probabilities = as_arrays(predictions, len(report.classes))
    if report.positive_class is None:
        return {}
    return outcomes_of(labels[:, None].astype(np.float64), probabilities[:, 1:], (report.positive_class,))


def _write_pictures(
    report: Report,
    predictions: Sequence[Prediction],
    folder: Path,
    image_of: ImageOf | None,
    history: Sequence[Mapping[str, float]],
) -> dict[str, Path]:
    labels, probabilities = as_arrays(predictions, len(report.classes))
    labels, probabilities = labels[labels >= 0], probabilities[labels >= 0]
    wrong = most_wrong(predictions) if image_of else []
    draw: dict[str, Callable[[], Figure]] = {
        "roc": lambda: roc_plot(report, labels, probabilities),
        "pr": lambda: pr_plot(report, labels, probabilities),
        "reliability": lambda: reliability_plot(report, labels, probabilities),
        "confusion": lambda: confusion_plot(report),
    }
    if outcomes := _outcomes(report, predictions):
        draw["decision"] = lambda: decision_plot(outcomes)
    if history:
        draw["training"] = lambda: training_plot(history)
    if image_of and wrong:
        draw["most_wrong"] = lambda: most_wrong_plot(predictions, wrong, report.classes, image_of)
    else:
        (folder / "most_wrong.png").unlink(missing_ok=True)  # an earlier test may have left one

    paths = {}
    for name, figure in draw.items():
        paths[name] = folder / f"{name}.png"
        with atomic_write(paths[name]) as temporary:
            style.save(figure(), temporary)
    return paths


def render_page(
    report: Report,
    pictures: Mapping[str, Path],
    metadata: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    subgroups: Sequence[Subgroup] = (),
) -> str:
    """The page.

    Args:
        report: what to show.
        pictures: from a key of ``CAPTIONS`` to a PNG file, in the order to show them.
        metadata: what was tested on what, and when; a row each, nested values as JSON.
        settings: of the training; None where they aren't known.
        subgroups: the figures of groups of images.

    Returns:
        HTML; names of classes and files, and metadata, are escaped.
    """
    figures = [report.figures, *([report.operating] if report.operating else [])]
    return render(
        "report.html",
        images=_images(report),
        headline=_headline(report),
        summary=summary_table(report),
        subgroups=subgroup_page(subgroups),
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
