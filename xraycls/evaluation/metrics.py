"""The standard metrics of a classifier, for its cases as they are or under many weightings at once, and their registry.

Two classes: class 1 is the positive one. Three or more: macro averages of one-vs-rest figures over the classes that
occur in the labels. What can't be computed, such as a sensitivity without positive cases or an area under the curve
of one class only, is NaN: never an exception, never a made-up number.

A bootstrap resample is a weighting: how often each case was drawn. Each figure is a few sums over weights [..., n], and
equals what scikit-learn gives for the same ``sample_weight``; what doesn't depend on the weights is worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xraycls.errors import unknown
from xraycls.evaluation.calibration import CalibrationGaps
from xraycls.evaluation.cases import (
    FloatArray,
    IntArray,
    log_losses,
    predicted_classes,
    ratio,
    squared_errors,
)
from xraycls.evaluation.ranking import RankedCases


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
    labels: IntArray, probabilities: FloatArray, weights: FloatArray, threshold: float = 0.5
) -> dict[str, FloatArray]:
    """Every metric of ``METRICS`` under weights of the cases: as :func:`scores`, float64 [...] each.

    Args:
        labels: int64 [n], 0 to C - 1; one or more.
        probabilities: float64 [n, C].
        weights: float64 [..., n], not negative, some above 0.
        threshold: two classes only: class 1 is called where its probability is at least this.
    """
    return WeightedFigures(labels, probabilities, (threshold,)).under(weights)[0].overall


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
    return WeightedFigures(labels, probabilities, (threshold,)).under(weights)[0].each


class AtThreshold(NamedTuple):
    """The metrics of ``METRICS``, float64 [...] each, and those of ``PER_CLASS``, float64 [..., C] each."""

    overall: dict[str, FloatArray]
    each: dict[str, FloatArray]


class WeightedFigures:
    """Every metric of a set of cases as a function of how much each case counts.

    Args:
        labels: int64 [n], 0 to C - 1; one or more.
        probabilities: float64 [n, C].
        thresholds: at which class 1 of two is called, each a number or float64 [n], that of each case; three classes or
            more take one, which plays no part.
        positive_only: whether the ranking metrics of class 0 of two, which cost most, are left out and NaN.
    """

    def __init__(
        self,
        labels: IntArray,
        probabilities: FloatArray,
        thresholds: Sequence[float | FloatArray] = (0.5,),
        *,
        positive_only: bool = False,
    ) -> None:
        n_classes = probabilities.shape[1]
        self._present = np.unique(labels)
        called = [predicted_classes(probabilities, threshold) for threshold in thresholds]
        # Cases with one label that are called the same at every threshold count together.
        self._kinds, kind = np.unique(np.stack([labels, *called], axis=1), axis=0, return_inverse=True)
        self._by_kind = np.argsort(kind, kind="stable")
        self._starts = np.searchsorted(kind[self._by_kind], np.arange(len(self._kinds)))
        self._classes = np.arange(n_classes)
        ranked = [] if positive_only else [0]
        self._ranked = {
            c: RankedCases(labels == c, probabilities[:, c]) for c in (*ranked, *self._classes[1:].tolist())
        }
        self._gaps = CalibrationGaps(labels, probabilities)
        self._squared, self._log = squared_errors(labels, probabilities), log_losses(labels, probabilities)

    def under(self, weights: FloatArray | IntArray) -> list[AtThreshold]:
        """The figures at each threshold.

        Args:
            weights: float64 or whole numbers [..., n], not negative, some above 0; the latter are summed faster.
        """
        total = weights.sum(axis=-1, dtype=np.float64)
        areas = np.full((len(self._classes), 2, *total.shape), np.nan)
        for c, ranked in self._ranked.items():
            areas[c] = ranked.areas(weights)
        auroc, average_precision = np.moveaxis(areas, (1, 0), (0, -1))
        ranking = {"auroc": auroc, "average_precision": average_precision}
        counts = weights.astype(np.float64, copy=False)
        free = {
            "brier": np.einsum("...n,n->...", counts, self._squared) / total,
            "ece": self._gaps.under(counts) / total,
            "loss": np.einsum("...n,n->...", counts, self._log) / total,
        }
        found = []
        by_kind = np.add.reduceat(weights.take(self._by_kind, axis=-1), self._starts, axis=-1).astype(np.float64)
        label = self._kinds[:, 0]
        for called in self._kinds[:, 1:].T:
            each = _of_calls(by_kind, label, called, self._classes) | ranking
            accuracy = by_kind @ (label == called).astype(np.float64) / total
            found.append(AtThreshold(combined(each, self._present) | {"accuracy": accuracy} | free, each))
        return found


def _of_calls(by_kind: FloatArray, label: IntArray, called: IntArray, classes: IntArray) -> dict[str, FloatArray]:
    """What depends on who is called what; from the weight [..., K] of K kinds of cases, float64 [..., C] each."""
    is_class, is_called = label[:, None] == classes, called[:, None] == classes
    support, calls, hits = (by_kind @ rows.astype(np.float64) for rows in (is_class, is_called, is_class & is_called))
    rest = by_kind.sum(axis=-1, keepdims=True) - support
    return {
        "precision": ratio(hits, calls),
        "sensitivity": ratio(hits, support),
        "specificity": ratio(rest - calls + hits, rest),
        "f1": np.where(support > 0, ratio(2 * hits, support + calls), np.nan),
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
