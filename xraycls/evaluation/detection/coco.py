"""COCO's average precision and recall, by faster-coco-eval.

Lin and others, "Microsoft COCO: Common Objects in Context" (2014): 101 recall points, the mean over IoU 0.50–0.95
and over classes that occur; sizes are box areas in pixels, small below 32², large from 96².
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from xraycls.errors import MissingExtra
from xraycls.evaluation.cases import FloatArray, IntArray
from xraycls.evaluation.detection.cases import Cases

logger = logging.getLogger(__name__)

COCO_FIGURES: dict[str, str] = {
    "coco_ap": "COCO AP, IoU 0.50–0.95",
    "coco_ap50": "COCO AP, IoU 0.50",
    "coco_ap75": "COCO AP, IoU 0.75",
    "coco_ap_small": "COCO AP, small",
    "coco_ap_medium": "COCO AP, medium",
    "coco_ap_large": "COCO AP, large",
    "coco_ar1": "COCO AR, 1 box an image",
    "coco_ar10": "COCO AR, 10 boxes",
    "coco_ar100": "COCO AR, 100 boxes",
    "coco_ar_small": "COCO AR, small",
    "coco_ar_medium": "COCO AR, medium",
    "coco_ar_large": "COCO AR, large",
}
"""The twelve figures in COCO's own order, with their titles."""


_MOST = 100  # detections of a class in an image


def coco_figures(cases: Cases, n_classes: int) -> dict[str, float]:
    """The twelve figures of COCO; difficult boxes are its crowds.

    Args:
        cases: the images; of each the best 100 detections of a class count.
        n_classes: C.

    Returns:
        A figure 0–1 for each of ``COCO_FIGURES``; NaN where there is no ground truth of the size.

    Raises:
        MissingExtra: faster-coco-eval isn't installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtra("faster-coco-eval", "detection") from error
    truth = _annotations(cases.truth.boxes, cases.truth.classes, cases.truth_image)
    for annotation, difficult in zip(truth, cases.truth.difficult.tolist(), strict=True):
        annotation["iscrowd"] = int(difficult)
    best = _best(cases, n_classes)
    annotations = _annotations(
        cases.detections.boxes[best], cases.detections.classes[best], cases.detection_image[best]
    )
    for annotation, score in zip(annotations, cases.detections.scores[best].tolist(), strict=True):
        annotation["score"] = score
    content = {
        "images": [{"id": image} for image in range(cases.n_images)],
        "categories": [{"id": c, "name": str(c)} for c in range(n_classes)],
        "annotations": truth,
    }
    results = COCO({**content, "annotations": annotations})
    evaluation = COCOeval_faster(COCO(content), results, "bbox", print_function=logger.debug)
    evaluation.run()
    figures = (float(figure) for figure in evaluation.stats[: len(COCO_FIGURES)])
    return {name: math.nan if figure < 0 else figure for name, figure in zip(COCO_FIGURES, figures, strict=True)}


def _best(cases: Cases, n_classes: int) -> IntArray:
    """The detections that COCO looks at, in their order: the best of each class in each image. Saves half the time."""
    group = cases.detection_image * n_classes + cases.detections.classes
    order = np.argsort(group, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(group[order], group[order])
    return np.sort(order[rank < _MOST])


def _annotations(boxes: FloatArray, classes: IntArray, images: IntArray) -> list[dict[str, Any]]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    columns = (np.hstack([boxes[:, :2], sizes]), sizes.prod(axis=1), classes, images)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"id": number, "image_id": image, "category_id": c, "bbox": box, "area": area, "iscrowd": 0}
        for number, (box, area, c, image) in enumerate(rows, start=1)
    ]
