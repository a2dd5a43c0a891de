"""The standard metrics of a classifier, from scikit-learn, and their registry.

Two classes: class 1 is the positive one. Three or more: macro averages of one-vs-rest figures over the classes that
occur in the labels. What can't be computed, such as a sensitivity without positive cases or an area under the curve
of one class only, is NaN: never an exception, never a made-up number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xraycls.errors import unknown
from xraycls.evaluation.calibration import expected_calibration_error
from xraycls.evaluation.cases import FloatArray, IntArray, log_losses, predicted_classes, ratio, squared_errors


@dataclass(frozen=True, slots=True)
class Metric:
    """What a figure is called and how it is read.

    Attributes:
        title: its name in tables and on pictures.
        higher_is_better: whether training should raise it.
        at_threshold: whether it moves with the decision threshold (two classes).
        inflated: whether chance alone raises it, so that a resample's figure lies above the sample's own.
    """

    title: str
    higher_is_better: bool = True
    at_threshold: bool = False
    inflated: bool = False


METRICS: dict[str, Metric] = {
    "auroc": Metric("AUROC"),
    "average_precision": Metric("Average precision"),
    "accuracy": Metric("Accuracy", at_threshold=True),
    "balanced_accuracy": Metric("Balanced accuracy", at_threshold=True),
    "sensitivity": Metric("Sensitivity", at_threshold=True),
    "specificity": Metric("Specificity", at_threshold=True),
    "f1": Metric("F1", at_threshold=True),
    "brier": Metric("Brier score", higher_is_better=False),
    "ece": Metric("Expected calibration error", higher_is_better=False, inflated=True),
    "loss": Metric("Log loss", higher_is_better=False),
}
PER_CLASS: dict[str, Metric] = {
    "precision": Metric("Precision", at_threshold=True),
    **{name: METRICS[name] for name in ("sensitivity", "specificity", "f1", "auroc", "average_precision")},
}


def metric(name: str, flag: str | None = None) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS, flag)
    return METRICS[name]


def scores(labels: IntArray, probabilities: FloatArray, threshold: float = 0.5) -> dict[str, float]:
    """Every metric of ``METRICS``.

    Args:
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C], rows that sum to 1.
        threshold: two classes only: class 1 is called where its probability is at least this.

    Returns:
        A figure a metric, in the order of ``METRICS``; all are 0–1 except the log loss (nats) and the multi-class
        Brier score (0–2). All are NaN without cases, and when a probability isn't a number, as of a network that
        diverged.
    """
    if len(labels) == 0 or not np.isfinite(probabilities).all():
        return dict.fromkeys(METRICS, float("nan"))
    from sklearn.metrics import accuracy_score

    found = {
        **combined(per_class(labels, probabilities, threshold), np.unique(labels)),
        "accuracy": accuracy_score(labels, predicted_classes(probabilities, threshold)),
        "brier": squared_errors(labels, probabilities).mean(),
        "ece": expected_calibration_error(labels, probabilities),
        "loss": log_losses(labels, probabilities).mean(),
    }
    return {name: float(found[name]) for name in METRICS}


def per_class(labels: IntArray, probabilities: FloatArray, threshold: float = 0.5) -> dict[str, FloatArray]:
    """Every metric of ``PER_CLASS``, each class against the rest.

    Args:
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C].
        threshold: two classes only: class 1 is called where its probability is at least this.

    Returns:
        float64 [C] a metric. NaN: precision when the class is never called, sensitivity and F1 without a case of it,
        specificity without a case of another, the ranking metrics unless there are both.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    classes = np.arange(probabilities.shape[1])
    predicted = predicted_classes(probabilities, threshold)
    precision, sensitivity, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    matrix = confusion(labels, predicted, len(classes))
    rest = len(labels) - support
    true_negatives = rest - matrix.sum(axis=0) + matrix.diagonal()
    ranked = np.full((2, len(classes)), np.nan)
    for c in classes[(support > 0) & (rest > 0)]:
        ranked[0, c] = roc_auc_score(labels == c, probabilities[:, c])
        ranked[1, c] = average_precision_score(labels == c, probabilities[:, c])
    return {
        "precision": precision,
        "sensitivity": sensitivity,
        "specificity": ratio(true_negatives, rest),
        "f1": np.where(support > 0, f1, np.nan),
        "auroc": ranked[0],
        "average_precision": ranked[1],
    }


def confusion(labels: IntArray, predicted: IntArray, n_classes: int) -> IntArray:
    """The confusion matrix; int64 [C, C], a true class a row, a predicted class a column."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(labels, predicted, labels=np.arange(n_classes)), dtype=np.int64)


def combined(each: Mapping[str, FloatArray], present: IntArray) -> dict[str, FloatArray]:
    """One figure for all classes out of one a class.

    Args:
        each: the metrics of :func:`per_class`, float64 [..., C].
        present: the classes that occur in the labels, sorted.

    Returns:
        float64 [...]. Two classes: the figures of class 1. More: the mean over the classes present, NaN when the
        figure of one of them is. Balanced accuracy is the mean sensitivity over the classes present, two at least.
    """
    n_classes = each["sensitivity"].shape[-1]
    members = np.array([1]) if n_classes == 2 else present
    names = ("auroc", "average_precision", "sensitivity", "specificity", "f1")
    figures = {name: each[name][..., members].mean(axis=-1) for name in names}
    recall = each["sensitivity"][..., present].mean(axis=-1)
    return {**figures, "balanced_accuracy": recall if len(present) > 1 else np.full_like(recall, np.nan)}
