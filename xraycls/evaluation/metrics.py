"""The standard metrics of a classifier, for its cases as they are or under many weightings at once, and their registry.

Two classes: class 1 is the positive one. Three or more: macro averages of one-vs-rest figures over the classes that
occur in the labels. What can't be computed, such as a sensitivity without positive cases or an area under the curve
of one class only, is NaN: never an exception, never a made-up number.

A bootstrap resample is a weighting: how often each case was drawn. Each figure is a few matrix products and cumulative
sums over weights [..., n], and equals what scikit-learn gives for the same ``sample_weight``; so thousands of
resamples of every metric take about a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xraycls.errors import unknown
from xraycls.evaluation.calibration import weighted_calibration_error
from xraycls.evaluation.cases import (
    BoolArray,
    FloatArray,
    IntArray,
    log_losses,
    predicted_classes,
    ratio,
    squared_errors,
)


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
    found = weighted_scores(labels, probabilities, np.ones(len(labels)), threshold)
    return {name: float(found[name]) for name in METRICS}


def weighted_scores(
    labels: IntArray,
    probabilities: FloatArray,
    weights: FloatArray,
    threshold: float = 0.5,
    each: Mapping[str, FloatArray] | None = None,
) -> dict[str, FloatArray]:
    """Every metric of ``METRICS`` under weights of the cases: as :func:`scores`, float64 [...] each.

    Args:
        labels: int64 [n], 0 to C - 1; one or more.
        probabilities: float64 [n, C].
        weights: float64 [..., n], not negative, some above 0.
        threshold: two classes only: class 1 is called where its probability is at least this.
        each: what :func:`per_class` gave for the same arguments, to save computing it again.
    """
    each = each or per_class(labels, probabilities, threshold, weights)
    correct = predicted_classes(probabilities, threshold) == labels
    total = weights.sum(axis=-1)
    return {
        **combined(each, np.unique(labels)),
        "accuracy": weights @ correct.astype(np.float64) / total,
        "brier": weights @ squared_errors(labels, probabilities) / total,
        "ece": weighted_calibration_error(labels, probabilities, weights),
        "loss": weights @ log_losses(labels, probabilities) / total,
    }


def per_class(
    labels: IntArray, probabilities: FloatArray, threshold: float = 0.5, weights: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Every metric of ``PER_CLASS``, each class against the rest.

    Args:
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C].
        threshold: two classes only: class 1 is called where its probability is at least this.
        weights: float64 [..., n], not negative; None counts every case once.

    Returns:
        float64 [..., C] a metric. NaN: precision when the class is never called, sensitivity and F1 without a case of
        it, specificity without a case of another, the ranking metrics unless there are both.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    classes = np.arange(probabilities.shape[1])
    is_class = labels[:, None] == classes
    is_called = predicted_classes(probabilities, threshold)[:, None] == classes
    support = weights @ is_class.astype(np.float64)
    called = weights @ is_called.astype(np.float64)
    hits = weights @ (is_class & is_called).astype(np.float64)
    rest = weights.sum(axis=-1, keepdims=True) - support
    ranked = np.array([ranking(is_class[:, c], probabilities[:, c], weights) for c in classes])  # [C, 2, ...]
    return {
        "precision": ratio(hits, called),
        "sensitivity": ratio(hits, support),
        "specificity": ratio(rest - called + hits, rest),
        "f1": np.where(support > 0, ratio(2 * hits, support + called), np.nan),
        "auroc": np.moveaxis(ranked[:, 0], 0, -1),
        "average_precision": np.moveaxis(ranked[:, 1], 0, -1),
    }


def ranking(positive: BoolArray, scores: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Area under the ROC curve and average precision, exact with tied scores.

    AUROC is the weighted fraction of (positive, negative) pairs in the right order, a tie counting half (Hanley and
    McNeil, Radiology 143, 1982). Average precision is the weighted mean, over positive cases, of the precision at
    their score; that is scikit-learn's Σ (Rₖ - Rₖ₋₁) Pₖ.

    Args:
        positive: bool [n].
        scores: float64 [n], higher for positive.
        weights: float64 [..., n], not negative.

    Returns:
        AUROC and average precision, float64 [...] each; NaN where either class has no weight.
    """
    positives, negatives = (
        rows[np.argsort(scores[rows], kind="stable")] for rows in (np.flatnonzero(positive), np.flatnonzero(~positive))
    )
    own = weights[..., positives]
    up_to_positive, up_to_negative = _cumulative(own), _cumulative(weights[..., negatives])
    n_positive, n_negative = up_to_positive[..., -1], up_to_negative[..., -1]

    at = scores[positives]
    negatives_below = up_to_negative[..., np.searchsorted(scores[negatives], at, side="left")]
    negatives_up_to = up_to_negative[..., np.searchsorted(scores[negatives], at, side="right")]
    ordered = np.einsum("...p,...p->...", own, negatives_below + negatives_up_to) / 2
    auroc = ratio(ordered, n_positive * n_negative)

    true = n_positive[..., None] - up_to_positive[..., np.searchsorted(at, at, side="left")]
    false = n_negative[..., None] - negatives_below
    # A positive that wasn't drawn may stand where nothing was called: weight 0 times precision 0/0 must stay 0.
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=own > 0)
    average_precision = ratio(np.einsum("...p,...p->...", own, precision), n_positive)
    return auroc, np.where(n_negative > 0, average_precision, np.nan)


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


def _cumulative(weights: FloatArray) -> FloatArray:
    """Weight of the first k cases, for k from 0 to n; [..., n] to [..., n + 1]."""
    total = np.zeros((*weights.shape[:-1], weights.shape[-1] + 1))
    np.cumsum(weights, axis=-1, out=total[..., 1:])
    return total
