"""Everything that is matched once, and every figure under any weighting of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.detection.average_precision import class_areas, rank_strict, whole_pixels
from xraycls.evaluation.detection.cases import Cases, ImageBoxes, pool
from xraycls.evaluation.detection.froc import RATES, FreeResponse, free_response, sensitivities
from xraycls.evaluation.detection.matches import Ranking, match, rankings
from xraycls.evaluation.detection.overlap import centre_in_box, overlaps
from xraycls.evaluation.detection.rsna import IOU_THRESHOLDS, mean_score, rsna_scores
from xraycls.types import Detections

Hit = Literal["iou", "centre"]
"""When FROC calls a lesion hit: by overlap, or by the centre of the detection."""

AREAS = {
    "ap_sample": "AP, 11 points (SSD, YOLO)",
    "ap_integrate": "AP, area (SSD, YOLO)",
    "voc_ap_sample": "AP, 11 points (Faster R-CNN)",
    "voc_ap_integrate": "AP, area (Faster R-CNN)",
}
RSNA = {"rsna": "RSNA, IoU 0.40–0.75"}
FROC = {"froc": "FROC, mean sensitivity"}
SENSITIVITIES = {f"froc_{rate:g}": f"Sensitivity, {rate:g} false an image" for rate in RATES}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The same detections by every rule.

    Attributes:
        cases: the images.
        ranked: a ranking a class, by the rule of SSD and YOLO.
        strict: likewise, by that of Faster R-CNN.
        rsna: float64 [I], each image's score; NaN where it is left out.
        marks: of all classes together.
        class_marks: of each class.
    """

    cases: Cases
    ranked: tuple[Ranking, ...]
    strict: tuple[Ranking, ...]
    rsna: FloatArray
    marks: FreeResponse
    class_marks: tuple[FreeResponse, ...]


def judge(
    truths: Sequence[ImageBoxes],
    detections: Sequence[Detections],
    n_classes: int,
    *,
    iou_threshold: float,
    confidence_threshold: float,
    score_threshold: float,
    hit: Hit,
) -> Judged:
    """Match every detection by every rule.

    Arguments and errors are those of :func:`~xraycls.evaluation.detection.table.detection_report`.
    """
    cases = pool(truths, detections, confidence_threshold=confidence_threshold)
    pairs = overlaps(cases, min(iou_threshold, *IOU_THRESHOLDS))
    late = whole_pixels(pool(truths, detections, confidence_threshold=confidence_threshold, last_first=True))
    hits = pairs.only(pairs.overlap >= iou_threshold) if hit == "iou" else overlaps(cases, 1.0, centre_in_box)
    marks = free_response(cases, hits)
    return Judged(
        cases=cases,
        ranked=rankings(cases, match(cases, pairs, iou_threshold), n_classes),
        strict=rank_strict(late, [iou_threshold], n_classes)[0],
        rsna=rsna_scores(cases, pairs, score_threshold),
        marks=marks,
        class_marks=(marks,) if n_classes == 1 else tuple(free_response(cases, hits, c) for c in range(n_classes)),
    )


def figures(judged: Judged, weights: FloatArray) -> dict[str, FloatArray]:
    """Every figure under many weightings of the images at once.

    Args:
        judged: the images.
        weights: float64 [R, I], how often each image counts, whole numbers.

    Returns:
        float64 [R] for each of ``AREAS``, ``RSNA``, ``FROC`` and ``SENSITIVITIES``; float64 [R, C] for each of
        ``AREAS`` and ``FROC``, named with "each " before it.
    """
    areas = {f"ap_{mode}": area for mode, area in class_areas(judged.ranked, weights).items()}
    strict = {f"voc_ap_{mode}": area for mode, area in class_areas(judged.strict, weights).items()}
    occurs = np.array([ranking.occurs for ranking in judged.strict])
    read = sensitivities(judged.marks, weights)
    each_read = [read if marks is judged.marks else sensitivities(marks, weights) for marks in judged.class_marks]
    return {
        **{name: area.mean(axis=1) for name, area in areas.items()},
        **{name: _mean(area[:, occurs]) for name, area in strict.items()},
        "rsna": mean_score(judged.rsna, weights),
        "froc": read.mean(axis=1),
        **dict(zip(SENSITIVITIES, read.T, strict=True)),
        **{f"each {name}": area for name, area in areas.items()},
        **{f"each {name}": np.where(occurs, area, np.nan) for name, area in strict.items()},
        "each froc": np.column_stack([one.mean(axis=1) for one in each_read]),
    }


def _mean(area: FloatArray) -> FloatArray:
    """Over the columns; NaN without any."""
    return area.mean(axis=1) if area.shape[1] else np.full(len(area), np.nan)
