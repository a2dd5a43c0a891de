"""TAO's two evaluators: average precision of SSD and YOLO, and the strict VOC one of Faster R-CNN."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.detection.cases import Cases, ImageBoxes, pool
from xraycls.evaluation.detection.curves import MODES, Mode, average_precisions
from xraycls.evaluation.detection.matches import Ranking, match, match_strict, rankings
from xraycls.evaluation.detection.overlap import overlaps, pixel_iou
from xraycls.types import Detections

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """What TAO's evaluator of SSD and YOLO says.

    Attributes:
        per_class: class name → average precision, 0–1; 0 for a class without ground truth.
        mean: over all classes, those without ground truth included.
    """

    per_class: Mapping[str, float]
    mean: float


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class, as TAO's evaluator of Faster R-CNN sees it.

    Attributes:
        ap: average precision, 0–1.
        precision: of all its detections together; 0 where there is none.
        recall: of all its ground truth; 0 where there is none.
        true: hits.
        false: false positives.
        missed: boxes that nothing hit.
    """

    ap: float
    precision: float
    recall: float
    true: int
    false: int
    missed: int


@dataclass(frozen=True, slots=True)
class StrictAveragePrecision:
    """What TAO's evaluator of Faster R-CNN says at one IoU threshold.

    Attributes:
        iou_threshold: 0–1.
        per_class: class name → its figures, in alphabetical order; only classes that occur.
        mean: average precision over the classes that occur; NaN where none does.
    """

    iou_threshold: float
    per_class: Mapping[str, ClassFigures]
    mean: float


def average_precision(
    truths: Sequence[ImageBoxes],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    mode: Mode = "sample",
    iou_threshold: float = 0.5,
    confidence_threshold: float = 0.01,
) -> AveragePrecision:
    """Average precision as ``ssd evaluate`` and ``yolo_v4 evaluate`` of TAO compute it.

    Two defects of the original aren't followed: equal scores keep the order of images and boxes however many there
    are, and at a confidence threshold of 0 a missed box is missed (there it counts as found).

    Args:
        truths: one an image, negative images included.
        detections: of the same images.
        classes: C names, without background.
        mode: TAO's ``average_precision_mode``; see :func:`~xraycls.evaluation.detection.curves.average_precisions`.
        iou_threshold: above 0, at most 1; a hit overlaps by at least this.
        confidence_threshold: 0–1; detections that score less don't count.

    Raises:
        XrayclsError: a score or a corner isn't a number.
    """
    if confidence_threshold <= 0:
        _say_once("With a confidence threshold of 0 TAO counts boxes that were missed as found; here they are missed")
    cases = pool(truths, detections, confidence_threshold=confidence_threshold)
    _tell_of_difficult(cases)
    ranked = rank(cases, iou_threshold, len(classes))
    areas = class_areas(ranked, np.ones((1, cases.n_images)))[mode][0]
    return AveragePrecision(dict(zip(classes, areas.tolist(), strict=True)), float(areas.mean()))


def strict_average_precision(
    truths: Sequence[ImageBoxes],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    mode: Mode = "sample",
    iou_thresholds: Sequence[float] = (0.5,),
    confidence_threshold: float = 0.01,
) -> list[StrictAveragePrecision]:
    """Average precision as ``faster_rcnn evaluate`` of TAO computes it.

    Corners are truncated to whole pixels and belong to the box (VOC's convention); an overlap must be above the
    threshold. A class that has nothing but difficult boxes and detections of these, with which the original ends in
    an error, doesn't occur.

    Args:
        truths: one an image, negative images included.
        detections: of the same images, clipped to 0 … size - 1.
        classes: C names, without background.
        mode: ``sample`` is TAO's ``use_voc07_11point_metric: true``, ``integrate`` false.
        iou_thresholds: 0–1 each; TAO's ``gt_matching_iou_threshold`` or its range.
        confidence_threshold: above 0, at most 1; detections that score less don't count.

    Returns:
        One a threshold.

    Raises:
        ValueError: a confidence threshold that isn't above 0, as the original has it.
        XrayclsError: a score or a corner isn't a number.
    """
    if not confidence_threshold > 0:
        raise ValueError(f"confidence_threshold must be above 0, not {confidence_threshold}")
    cases = whole_pixels(pool(truths, detections, confidence_threshold=confidence_threshold, last_first=True))
    _tell_of_difficult(cases)
    ranked = rank_strict(cases, iou_thresholds, len(classes))
    return [_strict(ranks, classes, mode, t) for ranks, t in zip(ranked, iou_thresholds, strict=True)]


def rank(cases: Cases, iou_threshold: float, n_classes: int) -> tuple[Ranking, ...]:
    """Each class judged by TAO's rule for SSD and YOLO."""
    return rankings(cases, match(cases, overlaps(cases, iou_threshold), iou_threshold), n_classes)


def rank_strict(cases: Cases, iou_thresholds: Sequence[float], n_classes: int) -> list[tuple[Ranking, ...]]:
    """Each class judged by the strict rule, once a threshold; ``cases`` have whole pixels and the last goes first."""
    pairs = overlaps(cases, min(iou_thresholds), pixel_iou)
    return [rankings(cases, match_strict(cases, pairs, threshold), n_classes) for threshold in iou_thresholds]


def whole_pixels(cases: Cases) -> Cases:
    """The same images with corners truncated, as Faster R-CNN's evaluator sees them."""
    return replace(
        cases,
        truth=replace(cases.truth, boxes=np.trunc(cases.truth.boxes)),
        detections=replace(cases.detections, boxes=np.trunc(cases.detections.boxes)),
    )


def class_areas(ranked: Sequence[Ranking], weights: FloatArray) -> dict[Mode, FloatArray]:
    """Average precision of every class, 0 for a class without ground truth.

    Args:
        ranked: one a class.
        weights: float64 [R, I], how often each image counts.

    Returns:
        float64 [R, C] a mode; NaN where a class has ground truth, but only in images of weight 0.
    """
    nothing = dict.fromkeys(MODES, np.zeros(len(weights)))
    each = [average_precisions(one, weights) if one.positives.any() else nothing for one in ranked]
    return {mode: np.column_stack([areas[mode] for areas in each]) for mode in MODES}


def _strict(
    ranked: Sequence[Ranking], classes: Sequence[str], mode: Mode, iou_threshold: float
) -> StrictAveragePrecision:
    areas = class_areas(ranked, np.ones((1, len(ranked[0].positives))))[mode][0]
    per_class = {classes[c]: _figures(ranked[c], float(areas[c])) for c in range(len(classes)) if ranked[c].occurs}
    mean = float(np.mean([each.ap for each in per_class.values()])) if per_class else float("nan")
    return StrictAveragePrecision(iou_threshold, dict(sorted(per_class.items())), mean)


def _figures(ranking: Ranking, area: float) -> ClassFigures:
    detections, true, wanted = len(ranking.hits), int(ranking.hits.sum()), int(ranking.positives.sum())
    return ClassFigures(
        ap=area,
        precision=true / detections if detections else 0.0,
        recall=true / wanted if wanted else 0.0,
        true=true,
        false=detections - true,
        missed=wanted - true,
    )


def _tell_of_difficult(cases: Cases) -> None:
    if cases.truth.difficult.any():
        _say_once(
            "Boxes marked as difficult (in KITTI files an occlusion other than 0) don't count in average precision; "
            "set the occlusion to 0 to count them"
        )


@functools.cache
def _say_once(sentence: str) -> None:
    logger.warning("%s", sentence)
