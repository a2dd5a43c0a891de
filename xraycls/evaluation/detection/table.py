"""Ground truth and detections in, a report out: every figure for the same boxes, with its 95 % interval."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xraycls.errors import DataError, MissingExtra
from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.coco import COCO_FIGURES, coco_figures
from xraycls.evaluation.detection.curves import envelope, precision_recall
from xraycls.evaluation.detection.froc import froc_curve
from xraycls.evaluation.detection.intervals import RESAMPLES, estimates
from xraycls.evaluation.detection.judged import AREAS, FROC, RSNA, SENSITIVITIES, Hit, Judged, figures, judge
from xraycls.evaluation.intervals import CONFIDENCE, group_indices
from xraycls.evaluation.report import Estimate
from xraycls.types import Detections

logger = logging.getLogger(__name__)

FIGURES: dict[str, str] = {**AREAS, **COCO_FIGURES, **RSNA, **FROC, **SENSITIVITIES}
"""Every figure of a report and its title."""

PER_CLASS: dict[str, str] = {**AREAS, **FROC}
"""The figures of one class."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A curve that rises from the left: x and y, float64 [k] each."""

    x: FloatArray
    y: FloatArray


@dataclass(frozen=True)
class DetectionReport:
    """What a detector is worth on one set of images.

    Attributes:
        classes: class names, without background.
        images: how many, negative ones included.
        negatives: images without any box.
        boxes: class name → boxes to find.
        difficult: boxes that need not be found, of all classes.
        detections: found boxes from ``confidence_threshold`` on.
        iou_threshold: from which overlap on a detection is a hit, except for COCO's and RSNA's figures.
        confidence_threshold: the score below which detections count nowhere.
        score_threshold: the score from which a detection is a prediction for RSNA's figure.
        hit: FROC's rule.
        figures: those of ``FIGURES``; COCO's, which have no interval, only where faster-coco-eval is installed.
        per_class: class name → those of ``PER_CLASS``; Faster R-CNN's are NaN where the class doesn't occur.
        curves: class name → best precision (y) at each recall (x), by the rule of SSD and YOLO; of classes with boxes.
        froc_curve: sensitivity (y) at false marks per image (x), all classes together.
        resamples: how many resamples the intervals rest on.
        groups: patients that were resampled; None when single images were.
        rsna_images: how many count for RSNA's figure: those with a box that was drawn or predicted.
    """

    classes: tuple[str, ...]
    images: int
    negatives: int
    boxes: Mapping[str, int]
    difficult: int
    detections: int
    iou_threshold: float
    confidence_threshold: float
    score_threshold: float
    hit: Hit
    figures: Mapping[str, Estimate]
    per_class: Mapping[str, Mapping[str, Estimate]]
    curves: Mapping[str, Curve]
    froc_curve: Curve
    resamples: int
    groups: int | None
    rsna_images: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every figure by name at the top, and the rest beside them; NaN is null."""
        return {
            **{name: estimate.to_dict() for name, estimate in self.figures.items()},
            "classes": list(self.classes),
            "images": self.images,
            "negatives": self.negatives,
            "difficult": self.difficult,
            "detections": self.detections,
            "iou_threshold": self.iou_threshold,
            "confidence_threshold": self.confidence_threshold,
            "score_threshold": self.score_threshold,
            "rsna_images": self.rsna_images,
            "hit": self.hit,
            "per_class": {
                title: {**{name: each.to_dict() for name, each in row.items()}, "boxes": self.boxes[title]}
                for title, row in self.per_class.items()
            },
            "bootstrap": {"confidence": CONFIDENCE, "resamples": self.resamples, "groups": self.groups},
        }


def detection_report(
    truths: Sequence[ImageBoxes],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    iou_threshold: float = 0.5,
    confidence_threshold: float = 0.01,
    score_threshold: float = 0.5,
    hit: Hit = "iou",
    groups: Sequence[Hashable | None] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DetectionReport:
    """Every figure of a detector for the same boxes.

    Args:
        truths: I, one an image, negative images included.
        detections: I, of the same images, in the same pixels.
        classes: C names, without background.
        iou_threshold: above 0, at most 1.
        confidence_threshold: 0–1; detections that score less count nowhere.
        score_threshold: 0–1; from here on a detection is a prediction for RSNA's figure, which knows no ranking.
        hit: when FROC calls a lesion hit: ``iou``, by the same overlap, or ``centre``, by a centre within the box.
        groups: [I], the patient of each image, None standing alone: whole patients are resampled.
        resamples: how many resamples the intervals rest on; 0 for none.
        seed: the same seed gives the same intervals.

    Raises:
        DataError: there is no image.
        XrayclsError: a score or a corner isn't a number.
    """
    if not truths:
        raise DataError("There is nothing to evaluate: not one image has labels", hint="Inference needs no labels")
    judged = judge(
        truths,
        detections,
        len(classes),
        iou_threshold=iou_threshold,
        confidence_threshold=confidence_threshold,
        score_threshold=score_threshold,
        hit=hit,
    )
    members = None if groups is None else group_indices(groups)
    if members is not None and members.max() + 1 == len(truths):
        members = None  # each image stands alone, as it would without groups
    estimated = estimates(
        lambda weights: figures(judged, weights), len(truths), groups=members, resamples=resamples, seed=seed
    )
    measured = {**{name: each[0] for name, each in estimated.items()}, **_coco(judged, len(classes))}
    cases = judged.cases
    return DetectionReport(
        classes=tuple(classes),
        images=len(truths),
        negatives=len(truths) - len(np.unique(cases.truth_image)),
        boxes={title: int(judged.ranked[c].positives.sum()) for c, title in enumerate(classes)},
        difficult=int(cases.truth.difficult.sum()),
        detections=len(cases.detections.scores),
        iou_threshold=iou_threshold,
        confidence_threshold=confidence_threshold,
        score_threshold=score_threshold,
        hit=hit,
        figures={name: measured[name] for name in FIGURES if name in measured},
        per_class={
            title: {name: estimated[f"each {name}"][c] for name in PER_CLASS} for c, title in enumerate(classes)
        },
        curves=_curves(judged, classes),
        froc_curve=Curve(*froc_curve(judged.marks)),
        resamples=resamples,
        groups=None if members is None else int(members.max()) + 1,
        rsna_images=int((~np.isnan(judged.rsna)).sum()),
    )


def _coco(judged: Judged, n_classes: int) -> dict[str, Estimate]:
    try:
        measured = coco_figures(judged.cases, n_classes)
    except MissingExtra as error:
        logger.warning("COCO's figures are left out: %s", error)
        return {}
    return {name: Estimate(value, float("nan"), float("nan")) for name, value in measured.items()}


def _curves(judged: Judged, classes: Sequence[str]) -> dict[str, Curve]:
    once = np.ones((1, judged.cases.n_images))
    curves = {}
    for title, ranking in zip(classes, judged.ranked, strict=True):
        if ranking.positives.any():
            recall, precision = precision_recall(ranking, once)
            best = envelope(precision)[0]
            curves[title] = Curve(np.append(0, recall[0]), np.append(best[:1] if len(best) else 0.0, best))
    return curves
