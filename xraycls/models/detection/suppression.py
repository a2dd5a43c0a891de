"""From scores and boxes to the few that are told."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms


def suppress(
    probabilities: Tensor, boxes: Tensor, *, confidence: float, iou: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Non-maximum suppression of one image, class by class.

    A box goes when a better one of its class overlaps it by more than ``iou``; at most ``top_k`` stay of a class, and
    in all.

    Args:
        probabilities: [a, c] of the classes without background, 0–1.
        boxes: [a, 4], left, top, right, bottom.
        confidence: boxes must score more than this, not just as much.
        iou: 0–1.
        top_k: 1 or more.

    Returns:
        Boxes [n, 4], classes int64 [n] and scores [n], by falling score.
    """
    anchor, label = torch.nonzero(probabilities > confidence, as_tuple=True)
    scores = probabilities[anchor, label]
    kept = batched_nms(boxes[anchor].float(), scores.float(), label, iou)[:top_k]
    return boxes[anchor[kept]], label[kept], scores[kept]
