"""How many objects the first stage of a Faster R-CNN finds, whatever the second makes of its proposals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.overlap import pixel_iou


def proposal_recall(
    truths: Sequence[ImageBoxes],
    proposals: Sequence[npt.ArrayLike],
    classes: Sequence[str],
    iou_threshold: float = 0.5,
) -> dict[str, float]:
    """Returns the share of each class's boxes that a proposal overlaps, as ``RPN_recall`` in TAO's printed block.

    Difficult boxes count; right and bottom pixels lie within boxes. A class without a box has no entry.

    Args:
        truths: one an image.
        proposals: [n, 4] of each image, left, top, right, bottom in the pixels of the ground truth.
        classes: C names, without background.
        iou_threshold: 0–1; an overlap of just as much is enough.

    Example:
        >>> from xraycls.evaluation.detection.cases import ImageBoxes
        >>> truths = [ImageBoxes.of([[0, 0, 9, 9], [50, 50, 59, 59]], [0, 0])]
        >>> proposal_recall(truths, [[[0, 0, 9, 12]]], ["nodule"])
        {'nodule': 0.5}
    """
    found: dict[int, list[bool]] = {}
    for truth, boxes in zip(truths, proposals, strict=True):
        overlaps = pixel_iou(np.asarray(boxes, np.float64).reshape(-1, 4), truth.boxes)
        best = overlaps.max(axis=0, initial=0.0)
        for label, overlap in zip(truth.classes.tolist(), best, strict=True):
            found.setdefault(label, []).append(bool(overlap >= iou_threshold))
    return {classes[label]: float(np.mean(hits)) for label, hits in sorted(found.items())}
