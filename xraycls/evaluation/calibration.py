"""Do probabilities mean what they say? Expected calibration error and the reliability curve.

Both compare a probability with an outcome in 15 equal-width bins (m/15, (m+1)/15], as in Guo, Pleiss, Sun and
Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017). What is binned:

* two classes: the probability of class 1 against "the case is of class 1", over the whole of 0–1. That is the
  reliability diagram of clinical prediction models and of scikit-learn's ``calibration_curve``, and the question a
  reader of "pneumonia: 80 %" asks. No threshold plays a part.
* more classes: the probability of the most probable class against "that class is the true one", as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xraycls.evaluation.cases import FloatArray, IntArray, predicted_classes, ratio

BINS = 15


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """A bin a row; means are NaN where a bin is empty.

    Attributes:
        edges: float64 [bins + 1], 0–1.
        probability: float64 [bins], the mean predicted probability.
        observed: float64 [bins], the fraction of cases for which it came true.
        count: int64 [bins], cases.
    """

    edges: FloatArray
    probability: FloatArray
    observed: FloatArray
    count: IntArray


def expected_calibration_error(labels: IntArray, probabilities: FloatArray, bins: int = BINS) -> float:
    """Σ over bins of (cases in the bin / n) · |mean probability - observed fraction|; 0–1, NaN without cases.

    Args:
        labels: int64 [n].
        probabilities: float64 [n, C].
        bins: how many of equal width.
    """
    if len(labels) == 0:
        return float("nan")
    return float(weighted_calibration_error(labels, probabilities, np.ones(len(labels)), bins))


def weighted_calibration_error(
    labels: IntArray, probabilities: FloatArray, weights: FloatArray, bins: int = BINS
) -> FloatArray:
    """The expected calibration error under weights of the cases.

    Args:
        labels: int64 [n].
        probabilities: float64 [n, C].
        weights: float64 [..., n], not negative; a case of weight 2 counts as two cases.
        bins: how many of equal width.

    Returns:
        float64 [...].
    """
    return np.asarray(CalibrationGaps(labels, probabilities, bins).under(weights) / weights.sum(axis=-1))


class CalibrationGaps:
    """By how much the probabilities of some cases miss what came true, bin by bin, whatever each case counts.

    Args:
        labels: int64 [n].
        probabilities: float64 [n, C].
        bins: how many of equal width.
    """

    def __init__(self, labels: IntArray, probabilities: FloatArray, bins: int = BINS) -> None:
        probability, outcome = _pairs(labels, probabilities)
        in_order = np.argsort(_bin_of(probability, bins), kind="stable")
        counts = np.bincount(_bin_of(probability, bins), minlength=bins)
        self._filled = np.flatnonzero(counts)
        self._starts = (np.cumsum(counts) - counts)[self._filled]
        self._order = None if np.array_equal(in_order, np.arange(len(in_order))) else in_order
        self._gap = (probability - outcome)[in_order]

    def under(self, weights: FloatArray) -> FloatArray:
        """Σ over bins of |Σ weight · (probability - outcome)|, float64 [...], for weights [..., n].

        Divided by the sum of the weights that is the expected calibration error: a bin's share times its gap doesn't
        depend on the bin's own weight.
        """
        ordered = weights if self._order is None else weights.take(self._order, axis=-1)
        return np.asarray(np.abs(np.add.reduceat(ordered * self._gap, self._starts, axis=-1)).sum(axis=-1))


def reliability_curve(labels: IntArray, probabilities: FloatArray, bins: int = BINS) -> ReliabilityCurve:
    """Predicted probability against observed fraction, bin by bin.

    Args:
        labels: int64 [n].
        probabilities: float64 [n, C].
        bins: how many of equal width.
    """
    probability, outcome = _pairs(labels, probabilities)
    bin_of = _bin_of(probability, bins)
    count = np.bincount(bin_of, minlength=bins)

    def mean(values: FloatArray) -> FloatArray:
        totals = np.bincount(bin_of, weights=values, minlength=bins)
        return ratio(totals, count)

    return ReliabilityCurve(np.linspace(0, 1, bins + 1), mean(probability), mean(outcome), count)


def _pairs(labels: IntArray, probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The probability that is judged and whether it came true (0 or 1); both [n]."""
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], (labels == 1).astype(np.float64)
    return probabilities.max(axis=1), (predicted_classes(probabilities) == labels).astype(np.float64)


def _bin_of(probability: FloatArray, bins: int) -> IntArray:
    """The bin of each probability; an inner edge belongs to the bin below it, 0 to the first."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability, side="left")
