"""NIH's localisation accuracy: whether the box that a detector is surest of lies on the finding that is there.

Wang et al., "ChestX-ray8", CVPR 2017, call a localisation correct whose IoU, or intersection over the detected box
(IoBB), is above a threshold. Their boxes come from heat maps of a classifier that never saw a box, several a film, and
are judged on all 984 boxes; here the box of the highest score counts alone, and a detector has learnt from boxes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.intervals import estimates
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.evaluation.intervals import group_indices
from xraycls.evaluation.report import Estimate
from xraycls.types import Detections

RULES: Mapping[str, tuple[float, ...]] = {
    "IoBB": (0.1, 0.25, 0.5),
    "IoU": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
}
"""Thresholds of each rule."""

PUBLISHED: Mapping[tuple[str, float], tuple[float, ...]] = {
    ("IoBB", 0.1): (0.7277, 0.9931, 0.7124, 0.7886, 0.4352, 0.1645, 0.7500, 0.4591),
    ("IoBB", 0.25): (0.5500, 0.9794, 0.5424, 0.5772, 0.2823, 0.0506, 0.5583, 0.3469),
    ("IoBB", 0.5): (0.2833, 0.8767, 0.3333, 0.4227, 0.1411, 0.0126, 0.3833, 0.1836),
    ("IoU", 0.1): (0.6888, 0.9383, 0.6601, 0.7073, 0.4000, 0.1392, 0.6333, 0.3775),
    ("IoU", 0.2): (0.4722, 0.6849, 0.4509, 0.4796, 0.2588, 0.0506, 0.3500, 0.2346),
    ("IoU", 0.3): (0.2444, 0.4589, 0.3006, 0.2764, 0.1529, 0.0379, 0.1666, 0.1326),
    ("IoU", 0.4): (0.0944, 0.2808, 0.2026, 0.1219, 0.0705, 0.0126, 0.0750, 0.0714),
    ("IoU", 0.5): (0.0500, 0.1780, 0.1111, 0.0650, 0.0117, 0.0126, 0.0333, 0.0306),
    ("IoU", 0.6): (0.0222, 0.0753, 0.0457, 0.0243, 0.0000, 0.0126, 0.0166, 0.0306),
    ("IoU", 0.7): (0.0055, 0.0273, 0.0196, 0.0000, 0.0000, 0.0000, 0.0083, 0.0204),
}
"""Of Wang et al., tables 4 and 7 (arXiv 1705.02315), by rule and threshold: Atelectasis, Cardiomegaly, Effusion,
Infiltration, Mass, Nodule, Pneumonia and Pneumothorax."""


def localisation_accuracy(
    truths: Sequence[ImageBoxes], detections: Sequence[Detections], classes: int, groups: Sequence[Hashable]
) -> dict[tuple[str, float], list[Estimate]]:
    """Returns the accuracy of each class by rule and threshold, with 95 % intervals.

    Args:
        truths: of I films.
        detections: of the same films, in the same pixels.
        classes: how many.
        groups: [I], the patients.
    """
    judged = {
        (rule, threshold, label): _hits(truths, detections, label, rule, threshold)
        for rule, thresholds in RULES.items()
        for threshold in thresholds
        for label in range(classes)
    }
    counts = np.array([[(truth.classes == label).sum() for label in range(classes)] for truth in truths], float)

    def figures(weights: FloatArray) -> dict[str, FloatArray]:
        with np.errstate(invalid="ignore"):
            return {
                f"{rule} {threshold} {label}": (weights @ hits) / (weights @ counts[:, label])
                for (rule, threshold, label), hits in judged.items()
            }

    found = estimates(figures, len(truths), groups=group_indices(groups), resamples=1000, seed=0)
    return {
        (rule, threshold): [found[f"{rule} {threshold} {label}"][0] for label in range(classes)]
        for rule, thresholds in RULES.items()
        for threshold in thresholds
    }


def _hits(
    truths: Sequence[ImageBoxes], detections: Sequence[Detections], label: int, rule: str, threshold: float
) -> FloatArray:
    """How many boxes of a class the surest detection of it overlaps enough, float64 [I]."""
    hits = np.zeros(len(truths))
    for image, (truth, found) in enumerate(zip(truths, detections, strict=True)):
        boxes, best = truth.boxes[truth.classes == label], found.boxes[found.labels == label][:1].astype(float)
        if len(boxes) and len(best):
            overlap = box_iou(best, boxes)[0] if rule == "IoU" else _over_detected(best[0], boxes)
            hits[image] = (overlap > threshold).sum()
    return hits


def _over_detected(detected: FloatArray, boxes: FloatArray) -> FloatArray:
    """Intersection of a detected box [4] with boxes [n, 4] over its own area, [n]."""
    low, high = np.maximum(detected[:2], boxes[:, :2]), np.minimum(detected[2:], boxes[:, 2:])
    area = float((detected[2:] - detected[:2]).prod())
    shared: FloatArray = (high - low).clip(0.0).prod(axis=1)
    return shared / area if area > 0 else np.zeros(len(boxes))
