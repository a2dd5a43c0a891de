"""Non-maximum suppression as ONNX's own operator, for graphs that an exporter traces."""

from __future__ import annotations

import torch
from torch import Tensor


def onnx_nms(boxes: Tensor, scores: Tensor, *, count: int, iou: float, confidence: float) -> Tensor:
    """Returns what ONNX's NonMaxSuppression selects, while ``torch.onnx.export`` traces.

    A box must score more than ``confidence``, and goes when a better one of its picture and class overlaps it by more
    than ``iou``; torchvision's ``nms`` compares in the same way.

    Args:
        boxes: float32 [B, A, 4], any two opposite corners.
        scores: float32 [B, C, A].
        count: most boxes of a picture and class.
        iou: 0–1.
        confidence: of the scores' range.

    Returns:
        int64 [n, 3]: picture, class and box of each that is kept.
    """
    limits = (torch.tensor([count]), torch.tensor([iou]), torch.tensor([confidence]))
    rows: Tensor = torch.onnx.ops.symbolic(
        "NonMaxSuppression",
        (boxes, scores, *limits),
        {"center_point_box": 0},
        dtype=torch.int64,
        shape=(boxes.shape[0] * scores.shape[1] * min(count, boxes.shape[1]), 3),
        version=11,
    )
    return rows
