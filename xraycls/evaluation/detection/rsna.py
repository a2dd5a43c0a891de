"""The metric of the RSNA Pneumonia Detection Challenge (Kaggle, 2018).

Of one image and one IoU threshold, TP / (TP + FP + FN); of an image, the mean over the thresholds 0.40, 0.45 … 0.75;
of all, the mean over images. Predictions are matched in order of their confidence, and a match overlaps by more than
the threshold. An image without opacities counts 0 if anything is predicted in it and is left out if nothing is. The
figure doesn't look at a ranking: which boxes are predicted at all has to be decided first, by their score.
"""

from __future__ import annotations

import numpy as np

from xraycls.evaluation.cases import FloatArray, ratio
from xraycls.evaluation.detection.cases import Cases, single
from xraycls.evaluation.detection.matches import claims
from xraycls.evaluation.detection.overlap import Pairs

IOU_THRESHOLDS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75)


def rsna_scores(cases: Cases, pairs: Pairs, score_threshold: float = 0.0) -> FloatArray:
    """The score of each image.

    The challenge has one class and no difficult boxes. Here a match is one of the same class, and a difficult box
    counts like any other.

    Args:
        cases: the images.
        pairs: of them, with overlaps from 0.40 on.
        score_threshold: 0–1, from which score on a detection is a prediction.

    Returns:
        float64 [I], 0–1; NaN for an image that is left out.
    """
    predicted = cases.detections.scores >= single(score_threshold)
    n_found, n_truth = len(predicted), len(cases.truth.classes)
    pairs = pairs.only(predicted[pairs.detection])
    boxes = np.bincount(cases.detection_image[predicted], minlength=cases.n_images)
    boxes += np.bincount(cases.truth_image, minlength=cases.n_images)
    parts = []
    for threshold in IOU_THRESHOLDS:
        matched = claims(pairs.only(pairs.overlap > threshold), n_found, n_truth) >= 0
        true = np.bincount(cases.detection_image[matched], minlength=cases.n_images)
        parts.append(ratio(true, boxes - true))
    return np.asarray(np.mean(parts, axis=0))


def mean_score(scores: FloatArray, weights: FloatArray) -> FloatArray:
    """The mean over images that aren't left out.

    Args:
        scores: float64 [I], from :func:`rsna_scores`.
        weights: float64 [R, I], how often each image counts.

    Returns:
        float64 [R], 0–1; NaN where every image is left out.
    """
    counted = ~np.isnan(scores)
    return ratio(weights[:, counted] @ scores[counted], weights[:, counted].sum(axis=1))
