"""How much each of several models counts in their mean: the mixture that makes what is true most likely."""

from __future__ import annotations

import numpy as np

from xraycls.evaluation.cases import FloatArray

_LEAST = 1e-15  # a probability of what was true, so that no model is ruled out by a single image
_GAP = 1e-6  # nats an image, by which the loss may miss its minimum
_MOST_STEPS = 2_000


def best_shares(told: FloatArray) -> tuple[float, ...]:
    """The weights, 0 or more with the sum 1, of the mean of models that has the least log loss.

    The loss is convex in the weights. Each step multiplies every weight by the mean over the cases of the model's
    probability by that of the mean, which is expectation maximisation for the proportions of a mixture and never raises
    the loss (Dempster, Laird and Rubin, Journal of the Royal Statistical Society B 39, 1977). The largest of these
    factors f bounds what is left to gain by log f, so the search ends when that is below 1e-6 nats a case.

    Args:
        told: float64 [m, n], the probability that each of m models gives to what is true of each of n cases.

    Returns:
        m weights; those below 0.0001 are 0.

    Example:
        >>> best_shares(np.array([[0.9, 0.8, 0.7], [0.2, 0.3, 0.1]]))
        (1.0, 0.0)
    """
    likely = np.maximum(told, _LEAST)
    shares = np.full(len(likely), 1 / len(likely))
    for _ in range(_MOST_STEPS):
        factors = (likely / (shares @ likely)).mean(axis=1)
        if np.log(factors.max()) < _GAP:
            break
        shares = shares * factors
    shares = np.where(shares < 1e-4, 0.0, shares)
    return tuple((shares / shares.sum()).round(6).tolist())
