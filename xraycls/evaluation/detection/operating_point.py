"""From which score on a detection is reported: chosen by RSNA's figure, and judged on images that didn't choose."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.evaluation.cases import FloatArray, IntArray, ratio
from xraycls.evaluation.detection.cases import Cases, single
from xraycls.evaluation.detection.intervals import RESAMPLES, estimates
from xraycls.evaluation.detection.matches import claims
from xraycls.evaluation.detection.overlap import Pairs
from xraycls.evaluation.detection.rsna import IOU_THRESHOLDS, mean_score
from xraycls.evaluation.intervals import group_indices
from xraycls.evaluation.report import Estimate

SCORES = tuple(round(0.01 * step, 2) for step in range(1, 100))
"""Scores that are tried."""

FOLDS = 4
"""Parts of the images, each of which is judged by what the others choose."""

_PLATEAU = 0.99  # of the best figure: scores around the best one that reach it are as good
Curve = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A choice among candidates and scores.

    Attributes:
        candidate: index of the candidate.
        score: from which on its detections are reported, 0–1.
        figure: RSNA's, of the images that chose, 0–1; flattering.
        nested: the same of all images, each judged by the choice of the other parts, with its 95 % interval.
    """

    candidate: int
    score: float
    figure: float
    nested: Estimate


def score_curve(cases: Cases, pairs: Pairs, scores: Sequence[float] = SCORES) -> Curve:
    """RSNA's score of every image at every threshold, float32 [T, I]; NaN where an image is left out.

    Predictions are matched in order of their confidence, so what a detection takes doesn't depend on those below it,
    and one matching serves all thresholds.

    Args:
        cases: the images.
        pairs: of them, with overlaps from 0.40 on.
        scores: T thresholds, rising.
    """
    limits = np.array([single(score) for score in scores])
    reached = np.searchsorted(limits, cases.detections.scores, side="right")  # thresholds that each detection meets
    drawn = np.bincount(cases.truth_image, minlength=cases.n_images)
    boxes = _counted(reached, cases.detection_image, len(limits), cases.n_images) + drawn
    total = np.zeros(boxes.shape)
    for threshold in IOU_THRESHOLDS:
        taken = claims(pairs.only(pairs.overlap > threshold), len(reached), len(cases.truth.classes)) >= 0
        hits = _counted(reached[taken], cases.detection_image[taken], len(limits), cases.n_images)
        total += ratio(hits, boxes - hits)
    return (total / len(IOU_THRESHOLDS)).astype(np.float32)


def choose_point(
    curves: Sequence[Curve], groups: Sequence[Hashable | None] | None = None, *, resamples: int = RESAMPLES
) -> OperatingPoint | None:
    """Returns the candidate and the score with the best figure; None where no prediction hits anything.

    Of scores that are about as good as the best one next to it, the middle is taken.

    Args:
        curves: one a candidate, from :func:`score_curve` with :data:`SCORES`.
        groups: [I], the patient of each image, who isn't divided between parts; None: each image stands alone.
        resamples: how many the interval rests on.

    Example:
        >>> import numpy as np
        >>> from xraycls.evaluation.detection.operating_point import SCORES, choose_point
        >>> curve = np.zeros((len(SCORES), 8), np.float32)
        >>> curve[29:40] = 0.5
        >>> point = choose_point([curve], resamples=0)
        >>> point.score, point.figure, point.nested.value
        (0.35, 0.5, 0.5)
    """
    images = curves[0].shape[1]
    members = np.arange(images) if groups is None else group_indices(groups)
    everything = _best(curves, np.arange(images))
    if everything is None:
        return None
    part = _parts(members)
    judged = np.full(images, np.nan)
    for number in range(FOLDS):
        rows, others = np.flatnonzero(part == number), np.flatnonzero(part != number)
        chosen = _best(curves, others) if len(others) else None
        candidate, step = (chosen or everything)[:2]
        judged[rows] = curves[candidate][step, rows]
    nested = estimates(
        lambda weights: {"rsna": mean_score(judged, weights)}, images, groups=members, resamples=resamples
    )["rsna"][0]
    candidate, step, figure = everything
    return OperatingPoint(candidate, SCORES[step], figure, nested)


def _best(curves: Sequence[Curve], rows: IntArray) -> tuple[int, int, float] | None:
    """Candidate, step of the score and figure on some images; None where nothing is above 0."""
    best: tuple[int, int, float] | None = None
    for number, curve in enumerate(curves):
        figures = _means(curve[:, rows])
        top = int(figures.argmax())
        if figures[top] > (best[2] if best else 0.0):
            low = high = top
            while low > 0 and figures[low - 1] >= _PLATEAU * figures[top]:
                low -= 1
            while high + 1 < len(figures) and figures[high + 1] >= _PLATEAU * figures[top]:
                high += 1
            best = number, (low + high) // 2, float(figures[top])
    return best


def _means(curve: Curve) -> FloatArray:
    """The mean over the images that count at each threshold, 0 where none does."""
    counted = ~np.isnan(curve)
    return np.nan_to_num(ratio(np.where(counted, curve, 0.0).sum(axis=1, dtype=np.float64), counted.sum(axis=1)))


def _parts(members: IntArray) -> IntArray:
    """The part of every image; groups are dealt in a fixed random order."""
    order = np.random.default_rng(0).permutation(int(members.max()) + 1)
    return np.asarray((order % FOLDS)[members])


def _counted(reached: IntArray, image: IntArray, thresholds: int, images: int) -> FloatArray:
    """How many detections of each image meet each threshold, [T, I]."""
    counts = np.zeros((thresholds + 1, images))
    np.add.at(counts, (reached, image), 1)
    return counts[::-1].cumsum(axis=0)[::-1][1:]
