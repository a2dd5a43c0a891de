"""From the scores and boxes of a detector to detections of a fixed number, on operators that an ONNX file can hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xraycls.models.detection.base import Suppression
from xraycls.models.detection.onnx_nms import onnx_nms


@dataclass(frozen=True, slots=True)
class DenseDetections:
    """The detections of a batch, by falling score; rows beyond the number of a picture are zeros.

    Attributes:
        number: int32 [B, 1].
        boxes: float32 [B, K, 4], pixels of the input.
        scores: float32 [B, K].
        labels: int32 [B, K], classes from 0.
    """

    number: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor


def dense_detections(scores: Tensor, boxes: Tensor, rules: Suppression, limits: Tensor | None) -> DenseDetections:
    """Returns what :func:`xraycls.models.detection.suppression.suppress` keeps, while ``torch.onnx.export`` traces.

    Args:
        scores: float32 [B, A, C].
        boxes: float32 [B, A, 4], or [B, A, C, 4], one for each class.
        rules: which boxes are kept; K is ``top_k``.
        limits: float32 [4] that boxes are cut to afterwards, see :attr:`Detector.cuts_boxes`; None to leave them.
    """
    pictures, anchors, classes = scores.shape
    by_class = scores.transpose(1, 2)  # of equal scores the lower class goes first, and in a class the lower anchor
    if boxes.ndim == 4:  # each class of each picture is a picture of its own to the operator
        own, marks = boxes.transpose(1, 2).reshape(-1, anchors, 4), by_class.reshape(-1, 1, anchors)
    else:
        own, marks = boxes, by_class
    rows = onnx_nms(own, marks, count=rules.top_k, iou=rules.iou, confidence=rules.confidence)
    picture, label, anchor = rows.unbind(dim=1)
    kept = torch.zeros_like(marks).index_put((picture, label, anchor), marks[picture, label, anchor])
    flat = kept.reshape(pictures, -1)
    found, index = F.pad(flat, (0, max(rules.top_k - classes * anchors, 0))).topk(rules.top_k)
    index = index.clamp_max(classes * anchors - 1)
    corners = boxes.transpose(1, 2).reshape(pictures, -1, 4) if boxes.ndim == 4 else boxes
    place = index if boxes.ndim == 4 else index % anchors
    present = found > 0
    chosen = corners.gather(1, place[..., None].expand(-1, -1, 4))
    if limits is not None:
        chosen = torch.minimum(chosen.clamp_min(0.0), limits)
    labels = index // anchors * present
    return DenseDetections(
        present.sum(dim=1, keepdim=True).to(torch.int32), chosen * present[..., None], found, labels.to(torch.int32)
    )


def efficient_nms(scores: Tensor, boxes: Tensor, rules: Suppression) -> DenseDetections:
    """The same by TensorRT's plugin EfficientNMS_TRT, which only TensorRT runs.

    Args:
        scores: float32 [B, A, C].
        boxes: float32 [B, A, 4] or [B, A, C, 4].
        rules: which boxes are kept.
    """
    pictures, most = scores.shape[0], rules.top_k
    number, chosen, found, labels = torch.onnx.ops.symbolic_multi_out(
        "TRT::EfficientNMS_TRT",
        (boxes, scores),
        {
            "score_threshold": rules.confidence,
            "iou_threshold": rules.iou,
            "max_output_boxes": most,
            "background_class": -1,
            "score_activation": 0,
            "class_agnostic": 0,
            "box_coding": 0,
        },
        dtypes=(torch.int32, torch.float32, torch.float32, torch.int32),
        shapes=((pictures, 1), (pictures, most, 4), (pictures, most), (pictures, most)),
        version=1,
    )
    return DenseDetections(number, chosen, found, labels)
