"""How well scores put the cases of a class before the rest: the areas under the ROC and precision-recall curves.

What doesn't depend on how much each case counts, the order of the scores, is worked out once; thousands of weightings
then cost two cumulative sums each.
"""

from __future__ import annotations

import numpy as np

from xraycls.evaluation.cases import BoolArray, FloatArray, IntArray, ratio


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
        # Without ties, as of most networks, there is less to look up.
        self._tied_with_negatives = not np.array_equal(self._negatives_below, self._negatives_up_to)
        self._tied = not np.array_equal(self._positives_below, np.arange(len(at)))

    def areas(self, weights: FloatArray | IntArray) -> tuple[FloatArray, FloatArray]:
        """Area under the ROC curve and average precision, exact with tied scores.

        AUROC is the weighted fraction of (positive, negative) pairs in the right order, a tie counting half (Hanley
        and McNeil, Radiology 143, 1982). Average precision is the weighted mean, over positive cases, of the
        precision at their score; that is scikit-learn's Σ (Rₖ - Rₖ₋₁) Pₖ.

        Args:
            weights: float64 or whole numbers [..., n], not negative; the latter are summed faster.

        Returns:
            AUROC and average precision, float64 [...] each; NaN where either class has no weight.
        """
        own = weights.take(self._positives, axis=-1)
        positives, negatives = _cumulative(own), _cumulative(weights.take(self._negatives, axis=-1))
        n_positive, n_negative = (each[..., -1].astype(np.float64) for each in (positives, negatives))

        share = own.astype(np.float64)
        below = negatives.take(self._negatives_below, axis=-1).astype(np.float64)
        pairs = np.einsum("...p,...p->...", share, below)
        if self._tied_with_negatives:
            up_to = negatives.take(self._negatives_up_to, axis=-1).astype(np.float64)
            pairs = (pairs + np.einsum("...p,...p->...", share, up_to)) / 2
        auroc = ratio(pairs, n_positive * n_negative)

        lower = positives.take(self._positives_below, axis=-1) if self._tied else positives[..., :-1]
        precision = n_positive[..., None] - lower  # of the positives at or above each
        called = np.subtract(n_negative[..., None], below, out=below)  # in place: memory for millions of cases is slow
        called += precision
        # A positive that wasn't drawn may stand where nothing was called: weight 0 times precision 0/0 must stay 0.
        precision /= np.maximum(called, np.finfo(np.float64).tiny, out=called)
        average_precision = ratio(np.einsum("...p,...p->...", share, precision), n_positive)
        return auroc, np.where(n_negative > 0, average_precision, np.nan)


def _cumulative(weights: FloatArray | IntArray) -> FloatArray | IntArray:
    """Weight of the first k cases, for k from 0 to n; [..., n] to [..., n + 1], of the same type."""
    total = np.zeros((*weights.shape[:-1], weights.shape[-1] + 1), weights.dtype)
    np.cumsum(weights, axis=-1, dtype=weights.dtype, out=total[..., 1:])
    return total
