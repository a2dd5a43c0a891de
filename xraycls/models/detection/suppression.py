"""From the scores and boxes of anchors to detections."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from xraycls.models.detection.base import Suppression
from xraycls.types import Detections


def detections_of(probabilities: Tensor, boxes: Tensor, rules: Suppression) -> list[Detections]:
    """Returns the detections of each picture of a batch.

    Args:
        probabilities: [B, A, C] of the classes without the background, 0–1.
        boxes: [B, A, 4], left, top, right, bottom in pixels of the input.
        rules: which boxes are kept.
    """
    detections = []
    for picture in range(probabilities.shape[0]):
        kept = suppress(
            probabilities[picture], boxes[picture], confidence=rules.confidence, iou=rules.iou, top_k=rules.top_k
        )
        corners, labels, scores = (part.detach().cpu() for part in kept)
        detections.append(Detections(corners.float().numpy(), labels.numpy(), scores.float().numpy()))
    return detections


def suppress(
    probabilities: Tensor, boxes: Tensor, *, confidence: float, iou: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Non-maximum suppression of one image, class by class.

    A box goes when a better one of its class overlaps it by more than ``iou``; at most ``top_k`` stay of a class, and
    in all. Both thresholds are compared as float32, as the numbers are. Of equal scores the lower class goes first, and
    in a class the lower anchor.

    Args:
        probabilities: [a, c] of the classes without background, 0–1.
        boxes: [a, 4], left, top, right, bottom.
        confidence: boxes must score more than this, not just as much.
        iou: 0–1.
        top_k: 1 or more.

    Returns:
        Boxes [n, 4], classes int64 [n] and scores [n], by falling score.
    """
    label, anchor = torch.nonzero((probabilities > confidence).T, as_tuple=True)
    scores, found = probabilities[anchor, label], boxes[anchor]
    limit = torch.tensor(iou, dtype=torch.float32).item()
    # Not batched_nms: it moves classes apart by shifting their boxes, which rounds them, and lets those of two classes
    # meet where boxes reach beyond the picture.
    starts = label.bincount().cumsum(0)[:-1].tolist()
    classes = torch.arange(len(label), device=label.device).tensor_split(starts)
    kept = torch.cat([rows[nms(found[rows].float(), scores[rows].float(), limit)] for rows in classes])
    best = kept[scores[kept].argsort(descending=True, stable=True)[:top_k]]
    return found[best], label[best], scores[best]
