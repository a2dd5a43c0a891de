"""Precision–recall curves and the area under them, under one weighting of the images or thousands at once.

A bootstrap resample is a weighting: how often each image was drawn. What was matched with what doesn't depend on it,
so a resample costs a cumulative sum over the hits, and a sparse product with the false positives between them.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from xraycls.evaluation.cases import FloatArray, ratio
from xraycls.evaluation.detection.matches import Ranking

Mode = Literal["sample", "integrate"]
MODES: tuple[Mode, ...] = get_args(Mode)

# Points 3, 6 and 7 are 0.30000000000000004, 0.6000000000000001 and 0.7000000000000001, as they are in TAO: a recall
# of exactly 3/10, 3/5 or 7/10 doesn't reach them.
RECALL_POINTS = np.linspace(0, 1, 11)

_CHUNK = 2**20  # elements of one [R, k] array: 8 MB


def precision_recall(ranking: Ranking, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The curve at each hit, where recall rises; what lies between two hits is never above the later one's envelope.

    Args:
        ranking: of one class, with h hits.
        weights: float64 [R, I], how often each image counts.

    Returns:
        Recall and precision, float64 [R, h] each. Recall is NaN where there is nothing to find, precision 0 where
        nothing has been found.
    """
    true = np.cumsum(weights[:, ranking.images[ranking.hits]], axis=1)
    detected = true + np.cumsum((_false_before_hits(ranking) @ weights.T).T, axis=1)
    precision = np.divide(true, detected, out=np.zeros_like(true), where=detected > 0)
    return ratio(true, np.broadcast_to((weights @ ranking.positives)[:, None], true.shape)), precision


def _false_before_hits(ranking: Ranking) -> Any:
    """Of each image, the false positives between a hit and the one before: sparse, float64 [h, I].

    There are far more false positives than hits, and the curve looks at them at the hits alone.
    """
    from scipy.sparse import csr_array

    hits, false = np.flatnonzero(ranking.hits), np.flatnonzero(~ranking.hits)
    row = np.searchsorted(hits, false)
    counted = row < len(hits)
    cells = row[counted], ranking.images[false[counted]]
    return csr_array((np.ones(len(cells[0])), cells), shape=(len(hits), len(ranking.positives)))


def envelope(precision: FloatArray) -> FloatArray:
    """The best precision at this recall or a higher one; [R, h] to [R, h]."""
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def average_precisions(ranking: Ranking, weights: FloatArray) -> dict[Mode, FloatArray]:
    """The average precision of one class.

    ``sample`` is VOC's until 2009: the mean, over recalls 0, 0.1 … 1, of the best precision at that recall or above.
    ``integrate`` is VOC's since 2010: the area under the envelope of the curve. Detections are taken one by one, in
    the order of the ranking, also where their scores are equal.

    Args:
        ranking: of the class.
        weights: float64 [R, I], how often each image counts, whole numbers.

    Returns:
        float64 [R] a mode, 0–1; NaN where there is nothing to find.
    """
    parts = [_average_precisions(ranking, rows) for rows in chunks(weights, int(ranking.hits.sum()))]
    return {mode: np.concatenate([part[mode] for part in parts]) for mode in MODES}


def chunks(weights: FloatArray, width: int) -> list[FloatArray]:
    """The rows of ``weights`` in parts so small that an array of ``width`` columns stays in the cache; one at least."""
    parts = -(-len(weights) * width // _CHUNK)
    return np.array_split(weights, max(1, min(parts, len(weights))))


def _average_precisions(ranking: Ranking, weights: FloatArray) -> dict[Mode, FloatArray]:
    recall, precision = precision_recall(ranking, weights)
    best = envelope(precision)
    steps = np.diff(recall, axis=1, prepend=0)
    beyond = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    sampled = [row[np.searchsorted(at, RECALL_POINTS)].mean() for row, at in zip(beyond, recall, strict=True)]
    something = weights @ ranking.positives > 0
    return {
        "sample": np.where(something, sampled, np.nan),
        "integrate": np.where(something, np.einsum("rh,rh->r", steps, best), np.nan),
    }
