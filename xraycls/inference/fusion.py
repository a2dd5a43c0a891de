"""Several detectors' boxes of one picture, fused into one set: weighted boxes fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.types import Detections

Floats = npt.NDArray[np.float64]


def weighted_boxes_fusion(
    detections: Sequence[Detections],
    *,
    weights: Sequence[float] | None = None,
    iou_threshold: float = 0.55,
    score_threshold: float = 0.0,
) -> Detections:
    """Returns the detections of several models in one picture as one set (Solovyev, Wang and Gabruseva 2021).

    By falling score each box joins the fused box of its class that it overlaps most, if by more than
    ``iou_threshold``, or begins a new one. Corners of a fused box are the mean of its members', weighted by their
    scores; its score is their mean, times the share of the models that found it: k of M, and 1 from M members on.
    Boxes without an area or a score are left out.

    Args:
        detections: of every model, in the same pixels and with the same classes.
        weights: how much each model counts, above 0; None for 1 each.
        iou_threshold: 0–1.
        score_threshold: 0–1; boxes that score less are left out.

    Raises:
        UsageError: no model, another number of weights, a weight that isn't above 0, or a threshold out of range.

    Example:
        >>> from xraycls import Detections, weighted_boxes_fusion
        >>> first = Detections.of([[10, 10, 50, 50]], labels=[0], scores=[0.9])
        >>> second = Detections.of([[14, 10, 54, 50], [80, 80, 99, 99]], labels=[0, 0], scores=[0.3, 0.6])
        >>> fused = weighted_boxes_fusion([first, second])
        >>> fused.boxes.round(1).tolist(), [f"{score:.2f}" for score in fused.scores]
        ([[11.0, 10.0, 51.0, 50.0], [80.0, 80.0, 99.0, 99.0]], ['0.60', '0.30'])
    """
    given = [1.0] * len(detections) if weights is None else list(weights)
    _check(detections, given, {"iou_threshold": iou_threshold, "score_threshold": score_threshold})
    kept = [found.above(score_threshold) for found in detections]
    boxes = np.concatenate([found.boxes for found in kept]).astype(np.float64)
    labels = np.concatenate([found.labels for found in kept])
    scores = np.concatenate([found.scores * float(weight) for found, weight in zip(kept, given, strict=True)])
    counted = (_areas(boxes) > 0) & (scores > 0)
    parts = [(boxes[:0], labels[:0], scores[:0].astype(np.float64))]
    for label in np.unique(labels[counted]):
        rows = np.flatnonzero(counted & (labels == label))
        order = rows[np.argsort(-scores[rows], kind="stable")]
        fused, means, members = _fuse(boxes[order], scores[order].astype(np.float64), iou_threshold)
        found_by = np.minimum(members, len(given)) / sum(given)
        parts.append((fused, np.full(len(fused), label), means * found_by))
    return Detections.of(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _fuse(boxes: Floats, scores: Floats, threshold: float) -> tuple[Floats, Floats, Floats]:
    """Fused boxes of one class [k, 4], the means of their members' scores [k], and how many these are [k].

    Args:
        boxes: float64 [n, 4], by falling score.
        scores: float64 [n], above 0.
        threshold: IoU, 0–1.
    """
    fused, sums, members = np.empty_like(boxes), np.zeros(len(boxes)), np.zeros(len(boxes))
    count = 0
    for box, score in zip(boxes, scores, strict=True):
        overlaps = box_iou(box[None], fused[:count])[0]
        best = int(overlaps.argmax()) if count else -1
        if best < 0 or overlaps[best] <= threshold:
            best = count
            fused[best], count = 0.0, count + 1
        fused[best] = (fused[best] * sums[best] + box * score) / (sums[best] + score)
        sums[best] += score
        members[best] += 1
    return fused[:count], sums[:count] / members[:count], members[:count]


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0.0).prod(axis=1))


def _check(detections: Sequence[Detections], weights: Sequence[float], thresholds: dict[str, float]) -> None:
    if not detections:
        raise UsageError("There are no detections to fuse", "Give those of at least one model")
    if len(weights) != len(detections):
        raise UsageError(f"There are {len(weights)} weights for {len(detections)} models", "Give one a model")
    if not all(weight > 0 for weight in weights):
        raise UsageError(f"Weights of models must be above 0, not {min(weights):g}")
    for name, value in thresholds.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must lie between 0 and 1, not be {value:g}")
