"""The metrics of a classifier under many weightings of its cases at once.

A bootstrap resample is a weighting: how often each case was drawn. Each figure is then a few matrix products and
cumulative sums over [R, n], and equals what scikit-learn gives for the same ``sample_weight``; so thousands of
resamples of every metric take about a second.
"""

from __future__ import annotations

import numpy as np

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
from xraycls.evaluation.metrics import combined


def weighted_rates(labels: IntArray, predicted: IntArray, weights: FloatArray, n_classes: int) -> dict[str, FloatArray]:
    """Precision, sensitivity, specificity and F1 of each class against the rest.

    Args:
        labels: int64 [n], 0 to C - 1.
        predicted: int64 [n], 0 to C - 1.
        weights: float64 [R, n], not negative.
        n_classes: C.

    Returns:
        float64 [R, C] a metric; NaN as in :func:`~xraycls.evaluation.metrics.per_class`.
    """
    classes = np.arange(n_classes)
    is_class, is_called = labels[:, None] == classes, predicted[:, None] == classes
    support = weights @ is_class.astype(np.float64)
    called = weights @ is_called.astype(np.float64)
    hits = weights @ (is_class & is_called).astype(np.float64)
    rest = weights.sum(axis=1, keepdims=True) - support
    return {
        "precision": ratio(hits, called),
        "sensitivity": ratio(hits, support),
        "specificity": ratio(rest - called + hits, rest),
        "f1": np.where(support > 0, ratio(2 * hits, support + called), np.nan),
    }


def weighted_ranking(positive: BoolArray, scores: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Area under the ROC curve and average precision, exact with tied scores.

    AUROC is the weighted fraction of (positive, negative) pairs in the right order, a tie counting half (Hanley and
    McNeil, Radiology 143, 1982). Average precision is the weighted mean, over positive cases, of the precision at
    their score; that is scikit-learn's Σ (Rₖ - Rₖ₋₁) Pₖ.

    Args:
        positive: bool [n].
        scores: float64 [n], higher for positive.
        weights: float64 [R, n], not negative.

    Returns:
        AUROC and average precision, float64 [R] each; NaN where either class has no weight.
    """
    positives, negatives = (
        rows[np.argsort(scores[rows], kind="stable")] for rows in (np.flatnonzero(positive), np.flatnonzero(~positive))
    )
    own = weights[:, positives]
    up_to_positive, up_to_negative = _cumulative(own), _cumulative(weights[:, negatives])
    n_positive, n_negative = up_to_positive[:, -1], up_to_negative[:, -1]

    at = scores[positives]
    negatives_below = up_to_negative[:, np.searchsorted(scores[negatives], at, side="left")]
    negatives_up_to = up_to_negative[:, np.searchsorted(scores[negatives], at, side="right")]
    ordered = np.einsum("rp,rp->r", own, negatives_below + negatives_up_to) / 2
    auroc = ratio(ordered, n_positive * n_negative)

    true = n_positive[:, None] - up_to_positive[:, np.searchsorted(at, at, side="left")]
    false = n_negative[:, None] - negatives_below
    # A positive that wasn't drawn may stand where nothing was called: weight 0 times precision 0/0 must stay 0.
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=own > 0)
    average_precision = ratio(np.einsum("rp,rp->r", own, precision), n_positive)
    return auroc, np.where(n_negative > 0, average_precision, np.nan)


def weighted_per_class(
    labels: IntArray, probabilities: FloatArray, weights: FloatArray, threshold: float = 0.5
) -> dict[str, FloatArray]:
    """Every metric of ``PER_CLASS``: as :func:`~xraycls.evaluation.metrics.per_class`, float64 [R, C] each."""
    n_classes = probabilities.shape[1]
    ranked = np.array(
        [weighted_ranking(labels == c, probabilities[:, c], weights) for c in range(n_classes)]
    )  # [C, 2, R]
    return {
        **weighted_rates(labels, predicted_classes(probabilities, threshold), weights, n_classes),
        "auroc": ranked[:, 0].T,
        "average_precision": ranked[:, 1].T,
    }


def weighted_scores(
    labels: IntArray,
    probabilities: FloatArray,
    weights: FloatArray,
    threshold: float = 0.5,
    each: dict[str, FloatArray] | None = None,
) -> dict[str, FloatArray]:
    """Every metric of ``METRICS``: as :func:`~xraycls.evaluation.metrics.scores`, float64 [R] each.

    Args:
        labels: int64 [n], 0 to C - 1.
        probabilities: float64 [n, C].
        weights: float64 [R, n], not negative.
        threshold: two classes only: class 1 is called where its probability is at least this.
        each: what :func:`weighted_per_class` gave for the same arguments, to save computing it again.
    """
    each = each or weighted_per_class(labels, probabilities, weights, threshold)
    correct = predicted_classes(probabilities, threshold) == labels
    total = weights.sum(axis=1)
    return {
        **combined(each, np.unique(labels)),
        "accuracy": weights @ correct.astype(np.float64) / total,
        "brier": weights @ squared_errors(labels, probabilities) / total,
        "ece": weighted_calibration_error(labels, probabilities, weights),
        "loss": weights @ log_losses(labels, probabilities) / total,
    }


def _cumulative(weights: FloatArray) -> FloatArray:
    """Weight of the first k cases, for k from 0 to n; [R, n] to [R, n + 1]."""
    total = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=total[:, 1:])
    return total
