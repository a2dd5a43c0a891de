"""From the scores and boxes of anchors to detections."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from xraycls.models.detection.base import Suppression
from xraycls.types import Detections

_CANDIDATES = 8  # looked at first, for each box to keep
_REACH = 2.0**19  # pixels, beyond which boxes are cut off to be compared


def detections_of(probabilities: Tensor, boxes: Tensor, rules: Suppression) -> list[Detections]:
    """Returns the detections of each picture of a batch.

    Args:
        probabilities: [B, A, C] of the classes without the background, 0–1.
        boxes: [B, A, 4], left, top, right, bottom in pixels of the input; or [B, A, C, 4], one for each class.
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
        boxes: [a, 4], left, top, right, bottom; or [a, c, 4], one for each class.
        confidence: boxes must score more than this, not just as much.
        iou: 0–1.
        top_k: 1 or more.

    Returns:
        Boxes [n, 4], classes int64 [n] and scores [n], by falling score.
    """
    label, anchor = torch.nonzero((probabilities > confidence).T, as_tuple=True)
    order = probabilities[anchor, label].argsort(descending=True, stable=True)
    label, anchor = label[order], anchor[order]
    own = boxes[anchor, label] if boxes.ndim == 3 else boxes[anchor]
    count = 0
    while True:  # greedy by falling score: it needs no more candidates than it takes to keep top_k
        count = min(max(4 * count, _CANDIDATES * top_k), len(order))
        kept = _suppressed(own[:count], label[:count], iou)[:top_k]
        if len(kept) == top_k or count == len(order):
            return own[kept], label[kept], probabilities[anchor[kept], label[kept]]


def _suppressed(boxes: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Returns the rows int64 [k] that remain of boxes [n, 4] by falling score, of all classes in one call.

    Classes are moved apart as in torchvision's ``batched_nms``, but far enough that boxes beyond the picture don't meet
    those of other classes, and as float64, so that no corner is rounded.
    """
    device = boxes.device
    if device.type == "mps":  # has no float64
        boxes, labels = boxes.cpu(), labels.cpu()
    apart = boxes.double().clamp(-_REACH, _REACH) + 2 * _REACH * labels[:, None]
    limit = torch.tensor(iou, dtype=torch.float32)
    above = limit.nextafter(torch.tensor(torch.inf))  # what is nearer to this is above the limit as float32
    falling = -torch.arange(len(labels), dtype=torch.float64, device=boxes.device)
    kept: Tensor = nms(apart, falling, (limit.double() + above.double()).item() / 2)
    return kept.to(device)
