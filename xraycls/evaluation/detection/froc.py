"""Free-response ROC: the share of lesions that are found against false marks per image.

A lesion is found when any detection of its class hits it. A detection that hits none is a false mark; further
detections of a lesion that is found already are neither, as in the evaluations of LUNA16 (Setio and others, Medical
Image Analysis 42, 2017) and CAMELYON16. Negative images belong to it: every image counts in "per image".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xraycls.evaluation.cases import FloatArray, IntArray, ratio
from xraycls.evaluation.detection.cases import Cases
from xraycls.evaluation.detection.curves import chunks
from xraycls.evaluation.detection.overlap import Pairs

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False marks per image at which sensitivity is read; their mean is LUNA16's competition metric."""


@dataclass(frozen=True, slots=True, eq=False)
class FreeResponse:
    """All marks, lesion by lesion, by falling score.

    Attributes:
        lesion_scores: float64 [L], the best score that hits each lesion; -inf where nothing does.
        lesion_images: int64 [L].
        false_scores: float64 [F], of the marks that hit nothing.
        false_images: int64 [F].
        n_images: I, negative images included.
    """

    lesion_scores: FloatArray
    lesion_images: IntArray
    false_scores: FloatArray
    false_images: IntArray
    n_images: int


def free_response(cases: Cases, hits: Pairs, only_class: int | None = None) -> FreeResponse:
    """Sort the detections into lesions found and false marks; what hits a difficult box only is neither.

    Args:
        cases: the images.
        hits: which detection hits which ground truth.
        only_class: only lesions and marks of it; None: of all.
    """
    scores = cases.detections.scores
    best = np.full(len(cases.truth.classes), -np.inf)
    np.maximum.at(best, hits.truth, scores[hits.detection])
    false = np.bincount(hits.detection, minlength=len(scores)) == 0
    wanted = ~cases.truth.difficult
    if only_class is not None:
        false &= cases.detections.classes == only_class
        wanted &= cases.truth.classes == only_class
    lesions = np.flatnonzero(wanted)
    lesions = lesions[np.argsort(-best[lesions], kind="stable")]
    return FreeResponse(
        best[lesions], cases.truth_image[lesions], scores[false], cases.detection_image[false], cases.n_images
    )


def sensitivities(response: FreeResponse, weights: FloatArray, rates: tuple[float, ...] = RATES) -> FloatArray:
    """The best sensitivity with at most so many false marks per image.

    That of the lowest score threshold which keeps to the rate, not interpolated between thresholds: marks of equal
    score come together or not at all.

    Args:
        response: the marks.
        weights: float64 [R, I], how often each image counts.
        rates: false marks per image, each above 0.

    Returns:
        float64 [R, rates], 0–1; NaN where there is no lesion.
    """
    width = min(len(response.false_scores), 2 * int(max(rates) * response.n_images))
    return np.concatenate([_sensitivities(response, rows, np.array(rates)) for rows in chunks(weights, width)])


def froc_curve(response: FreeResponse) -> tuple[FloatArray, FloatArray]:
    """The steps of the curve at every threshold, from none called.

    Returns:
        False marks per image and sensitivity, float64 [k] each, both rising; sensitivity is NaN without lesions.
    """
    thresholds = np.unique(np.concatenate([response.false_scores, response.lesion_scores]))[::-1]
    thresholds = np.concatenate([[np.inf], thresholds[np.isfinite(thresholds)]])
    false = np.searchsorted(-response.false_scores, -thresholds, side="right")
    found = np.searchsorted(-response.lesion_scores, -thresholds, side="right")
    lesions = np.full(len(found), len(response.lesion_scores))
    return false / max(response.n_images, 1), ratio(found, lesions)


def _sensitivities(response: FreeResponse, weights: FloatArray, rates: FloatArray) -> FloatArray:
    allowed = rates * weights.sum(axis=1, keepdims=True)
    false = _false_marks(response, weights, allowed.max(axis=1))
    # The score of the first mark that is one too many: everything above it, and nothing with it, can be called.
    limits = np.append(response.false_scores, -np.inf)
    first_over = np.array([np.searchsorted(row, most, side="right") for row, most in zip(false, allowed, strict=True)])
    called = np.searchsorted(-response.lesion_scores, -limits[first_over], side="left")
    lesions = np.cumsum(np.pad(weights[:, response.lesion_images], ((0, 0), (1, 0))), axis=1)
    return ratio(np.take_along_axis(lesions, called, axis=1), np.broadcast_to(lesions[:, -1:], called.shape))


def _false_marks(response: FreeResponse, weights: FloatArray, most: FloatArray) -> FloatArray:
    """How many there are up to each mark, [R, k]: of all marks, or as many as it takes to pass ``most`` [R].

    A detector leaves hundreds of marks an image, of which no rate allows more than the first few.
    """
    k = 2 * int(most.max()) + 1
    while True:
        false = np.cumsum(weights[:, response.false_images[:k]], axis=1)
        if k >= len(response.false_images) or (false[:, -1] > most).all():
            return false
        k *= 2
