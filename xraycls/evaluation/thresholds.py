"""The operating threshold: where on the probability of the positive class "positive" begins.

A case is called positive when its score is at least the threshold. Only the gaps between distinct scores matter, so
each gap is tried once, at its middle: the furthest point from either neighbour, where a score that another machine
rounds differently stays on its own side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xraycls.errors import DataError, UsageError, unknown
from xraycls.evaluation.cases import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class _Counts:
    """What each candidate threshold does: cases called positive, rightly and wrongly; int64 [k]."""

    true: IntArray
    false: IntArray
    positives: int
    negatives: int


# Each is a fraction of whole numbers with one rounding at most, so equally good thresholds compare equal.
_OBJECTIVES: dict[str, Callable[[_Counts], FloatArray | IntArray]] = {
    # Youden's J = sensitivity + specificity - 1, times positives · negatives.
    "youden": lambda c: c.true * c.negatives - c.false * c.positives,
    "balanced_accuracy": lambda c: c.true * c.negatives - c.false * c.positives,
    "accuracy": lambda c: c.true - c.false,
    "f1": lambda c: 2 * c.true / (c.positives + c.true + c.false),
}
_TARGETS = ("sensitivity", "specificity")
METHODS = (*_OBJECTIVES, *(f"{name}=TARGET" for name in _TARGETS))


def parse_method(method: str, flag: str | None = None) -> tuple[str, float | None]:
    """The name of a method and its target, checked: ("youden", None) or ("sensitivity", 0.95).

    Args:
        method: as for :func:`choose_threshold`.
        flag: the flag that took it, for the error.

    Raises:
        UsageError: there is no such method, or its target isn't a number above 0 and up to 1.
    """
    name, equals, text = method.partition("=")
    if name in _OBJECTIVES and not equals:
        return name, None
    if name not in _TARGETS:
        raise unknown("threshold method", method, METHODS, flag)
    try:
        target = float(text)
    except ValueError:
        target = float("nan")
    if not 0 < target <= 1:
        where = f" for {flag}" if flag else ""
        raise UsageError(f"The threshold method {method!r}{where} has no target between 0 and 1", f"Write {name}=0.95")
    return name, target


def choose_threshold(labels: IntArray, scores: FloatArray, method: str = "youden") -> float:
    """The best threshold on a validation set.

    Args:
        labels: int64 [n]; 1 positive, 0 negative, below 0 unknown and left out.
        scores: float64 [n], the probability of the positive class, 0–1.
        method: what is best:
            ``youden``: the greatest sensitivity + specificity (Youden, Cancer 3, 1950); ``balanced_accuracy`` is the
            same thing.
            ``accuracy``, ``f1``: the greatest.
            ``sensitivity=0.95``: the highest threshold with at least that sensitivity.
            ``specificity=0.9``: the lowest threshold with at least that specificity.
            Among equally good thresholds the lowest, which misses the fewest positives.

    Returns:
        The threshold: the middle of a gap between scores, 0 and 1 being the outermost; just above 1 when even a
        score of 1 is best called negative.

    Raises:
        UsageError: no such method.
        DataError: the labels don't hold both classes.
    """
    name, target = parse_method(method)
    known = labels >= 0
    positive, scores = labels[known] == 1, scores[known].astype(np.float64)
    if positive.all() or not positive.any():
        raise DataError(
            "A threshold can't be chosen: the validation labels hold only one class",
            hint="Give a validation split with both classes",
        )
    candidates = _gap_middles(scores)
    counts = _count(positive, scores, candidates)
    if target is None:
        return float(candidates[np.argmax(_OBJECTIVES[name](counts))])
    if name == "sensitivity":
        return float(candidates[counts.true / counts.positives >= target].max())
    return float(candidates[(counts.negatives - counts.false) / counts.negatives >= target].min())


def _gap_middles(scores: FloatArray) -> FloatArray:
    """One threshold a gap between distinct scores, ascending: from all positive to all negative; float64 [k + 1]."""
    distinct = np.unique(scores)
    below, above = np.append(0.0, distinct), np.append(distinct, 1.0)
    middle: FloatArray = below + (above - below) / 2
    # Between neighbouring floats the middle rounds down to the lower one, which must stay out; likewise after 1.
    middle[1:] = np.maximum(middle[1:], np.nextafter(distinct, np.inf))
    return middle


def _count(positive: BoolArray, scores: FloatArray, thresholds: FloatArray) -> _Counts:
    """Cases at or above each threshold, by class."""

    def at_least(values: FloatArray) -> IntArray:
        return len(values) - np.searchsorted(np.sort(values), thresholds, side="left")

    positives, negatives = scores[positive], scores[~positive]
    return _Counts(at_least(positives), at_least(negatives), len(positives), len(negatives))


def format_threshold(threshold: float) -> str:
    """A threshold in three significant digits, or as many as tell it from 1."""
    shown = (f"{threshold:.{digits}g}" for digits in range(3, 18))
    return next(text for text in shown if text != "1" or threshold == 1)
