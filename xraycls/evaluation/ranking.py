"""How well scores put the cases of a class before the rest: the areas under the ROC and precision-recall curves.

What doesn't depend on how much each case counts, the order of the scores, is worked out once; thousands of weightings
then cost two cumulative sums each.
"""

from __future__ import annotations

import numpy as np

from xraycls.evaluation.cases import BoolArray, FloatArray, ratio


class RankedCases:
    """The cases of one class against the rest, in order of their scores.

    Args:
        positive: bool [n], the cases of the class.
        scores: float64 [n], higher for positive.
    """

    def __init__(self, positive: BoolArray, scores: FloatArray) -> None:
        self._positives, self._negatives = (
            rows[np.argsort(scores[rows], kind="stable")]
            for rows in (np.flatnonzero(positive), np.flatnonzero(~positive))
        )
        at, others = scores[self._positives], scores[self._negatives]
        self._negatives_below = np.searchsorted(others, at, side="left")
        self._negatives_up_to = np.searchsorted(others, at, side="right")
        self._positives_below = np.searchsorted(at, at, side="left")

    def areas(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Area under the ROC curve and average precision, exact with tied scores.

        AUROC is the weighted fraction of (positive, negative) pairs in the right order, a tie counting half (Hanley
        and McNeil, Radiology 143, 1982). Average precision is the weighted mean, over positive cases, of the
        precision at their score; that is scikit-learn's Σ (Rₖ - Rₖ₋₁) Pₖ.

        Args:
            weights: float64 [..., n], not negative.

        Returns:
            AUROC and average precision, float64 [...] each; NaN where either class has no weight.
        """
        own = weights.take(self._positives, axis=-1)
        positives, negatives = _cumulative(own), _cumulative(weights.take(self._negatives, axis=-1))
        n_positive, n_negative = positives[..., -1], negatives[..., -1]

        below = negatives.take(self._negatives_below, axis=-1)
        up_to = negatives.take(self._negatives_up_to, axis=-1)
        auroc = ratio(np.einsum("...p,...p->...", own, up_to + below) / 2, n_positive * n_negative)

        true = n_positive[..., None] - positives.take(self._positives_below, axis=-1)
        called = true + n_negative[..., None] - below
        # A positive that wasn't drawn may stand where nothing was called: weight 0 times precision 0/0 must stay 0.
        precision = true / np.maximum(called, np.finfo(np.float64).tiny)
        average_precision = ratio(np.einsum("...p,...p->...", own, precision), n_positive)
        return auroc, np.where(n_negative > 0, average_precision, np.nan)


def _cumulative(weights: FloatArray) -> FloatArray:
    """Weight of the first k cases, for k from 0 to n; [..., n] to [..., n + 1]."""
    total = np.zeros((*weights.shape[:-1], weights.shape[-1] + 1))
    np.cumsum(weights, axis=-1, out=total[..., 1:])
    return total
