"""From the maps of a region proposal network to regions of interest, and from regions to crops of the feature map.

Everything is batched and free of random numbers. Coordinates are pixels of the network's input, in the order left, top,
right, bottom; a picture of width W ends at W - 1. The rules are those of TAO's Faster R-CNN (Ren et al. 2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xraycls.models.detection.onnx_nms import onnx_nms
from xraycls.models.detection.suppression import remaining
from xraycls.models.torchvision import ops

_SMALLEST = 1.0  # pixels that a proposal must be wider and higher than
_SURVEY = 4  # candidates looked at for each proposal wanted, before all are


@dataclass(frozen=True, slots=True)
class ProposalSettings:
    """Which boxes of the first stage go to the second.

    Attributes:
        candidates: boxes of the highest score that are looked at (``rpn_pre_nms_top_N``).
        count: boxes that stay, at most (``rpn_nms_max_boxes``).
        iou: above which the lower-scored of two boxes is removed, 0-1 (``rpn_nms_overlap_threshold``).
    """

    candidates: int = 6000
    count: int = 300
    iou: float = 0.7


def anchor_shapes(scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Returns the widths and heights of the anchors of one cell, pixels, float32 [A, 2], by scale and then by ratio.

    Args:
        scales: side of the square anchor, pixels.
        ratios: width through height.
    """
    roots = torch.tensor([math.sqrt(ratio) for ratio in ratios], dtype=torch.float32)
    sides = torch.tensor(list(scales), dtype=torch.float32)
    return (sides[:, None, None] * torch.stack([roots, 1 / roots], dim=-1)).reshape(-1, 2)


def anchor_grid(shapes: Tensor, rows: int, columns: int, stride: float) -> Tensor:
    """Returns the anchors of a map by row, column and shape, [rows·columns·A, 4]: centre x and y, width and height.

    Args:
        shapes: float32 [A, 2], of :func:`anchor_shapes`.
        rows: of the map; the centre of the first cell lies half a stride from the picture's edge.
        columns: of the map.
        stride: pixels between two cells.
    """
    y = stride * (torch.arange(rows, device=shapes.device, dtype=shapes.dtype) + 0.5)
    x = stride * (torch.arange(columns, device=shapes.device, dtype=shapes.dtype) + 0.5)
    centres = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)
    size = (rows, columns, *shapes.shape)
    return torch.cat([centres[:, :, None].expand(size), shapes.expand(size)], dim=-1).reshape(-1, 4)


def decode_anchors(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Returns boxes [..., 4] from the deltas (dx, dy, dw, dh) of anchors (centre x and y, width, height)."""
    centre = deltas[..., :2] * anchors[..., 2:] + anchors[..., :2]
    size = torch.exp(deltas[..., 2:]) * anchors[..., 2:]
    corner = centre - 0.5 * size
    return torch.cat([corner, corner + size], dim=-1)


def decode_rois(deltas: Tensor, rois: Tensor, spread: Tensor) -> Tensor:
    """Returns boxes [..., 4] from the deltas of regions of interest, whose width is right - left + 1.

    Args:
        deltas: [..., 4], dx, dy, dw, dh, multiplied by ``spread``.
        rois: [..., 4].
        spread: [4] (``classifier_regr_std``).
    """
    size = rois[..., 2:] - rois[..., :2] + 1.0
    centre = rois[..., :2] + size / 2.0
    deltas = deltas / spread
    centre = deltas[..., :2] * size + centre
    half = 0.5 * (torch.exp(deltas[..., 2:]) * size)
    return torch.cat([centre - half, centre + half], dim=-1)


def encode_rois(boxes: Tensor, rois: Tensor) -> Tensor:
    """Returns the deltas [..., 4] that lead from regions to boxes; both have the width right - left + 1."""
    size = rois[..., 2:] - rois[..., :2] + 1.0
    wanted = boxes[..., 2:] - boxes[..., :2] + 1.0
    shift = boxes[..., :2] + 0.5 * wanted - (rois[..., :2] + 0.5 * size)
    return torch.cat([shift / size, torch.log(wanted / size)], dim=-1)


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Returns boxes [..., 4] that end at the picture's last row and column."""
    limits = torch.tensor([width - 1.0, height - 1.0] * 2, device=boxes.device, dtype=boxes.dtype)
    return torch.minimum(boxes.clamp_min(0.0), limits)


def propose(scores: Tensor, boxes: Tensor, *, candidates: int, count: int, iou: float) -> Tensor:
    """Returns the best boxes of each picture that do not overlap much: [B, count, 4], filled up with zeros.

    Boxes of 1 pixel or less in width or height are left out. Of the others the ``candidates`` of the highest score
    (ties: the first) go through non-maximum suppression, in which a box goes if a better one overlaps it by more than
    ``iou``, and the first ``count`` stay.

    Args:
        scores: float32 [B, N].
        boxes: float32 [B, N, 4], clipped.
        candidates: ``rpn_pre_nms_top_N``.
        count: ``rpn_nms_max_boxes``.
        iou: 0-1, plain (``rpn_nms_overlap_threshold``).
    """
    large = ((boxes[..., 2:] - boxes[..., :2]) > _SMALLEST).all(dim=-1)
    scores = scores.masked_fill(~large, -torch.inf)
    if torch.onnx.is_in_onnx_export():
        return _propose_onnx(scores, boxes, candidates=candidates, count=count, iou=iou)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :candidates]
    scores = scores.gather(1, order)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    if torch.compiler.is_exporting():
        return _first_kept(boxes, _suppress_shifted(boxes, scores, iou), scores > -torch.inf, count)
    surveyed = min(_SURVEY * count, boxes.shape[1])
    while True:  # suppression goes from the best to the worst: what comes after the last box wanted changes nothing
        proposals, enough = _suppress(boxes[:, :surveyed], scores[:, :surveyed], iou, count)
        if enough or surveyed == boxes.shape[1]:
            return proposals
        surveyed = min(_SURVEY * surveyed, boxes.shape[1])


def _propose_onnx(scores: Tensor, boxes: Tensor, *, candidates: int, count: int, iou: float) -> Tensor:
    """The same on operators of ONNX, picture by picture, which stop at the last box wanted."""
    scores, order = scores.topk(min(candidates, scores.shape[1]))
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    rows = onnx_nms(boxes, scores[:, None], count=count, iou=iou, confidence=-1.0)
    one = rows[:, 0] * 0 + 1  # for each row, whose number a graph doesn't know
    kept = torch.zeros_like(scores, dtype=torch.int64).index_put((rows[:, 0], rows[:, 2]), one)
    return _first_kept(boxes, kept > 0, scores > -1.0, count)


def _suppress(boxes: Tensor, scores: Tensor, iou: float, count: int) -> tuple[Tensor, bool]:
    """Proposals [B, count, 4] of sorted boxes, and whether every picture has its full number."""
    pictures, number = scores.shape
    present = scores.flatten() > -torch.inf
    rows = torch.nonzero(present)[:, 0]
    owners = rows // number
    kept = rows[remaining(boxes.reshape(-1, 4)[rows], owners, owners, iou)]
    chosen = torch.zeros_like(present)
    chosen[kept] = True
    chosen = chosen.view(pictures, number)
    return _first_kept(boxes, chosen, chosen, count), bool((chosen.sum(dim=1) >= count).all())


def _suppress_shifted(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Which of the sorted boxes stay, bool [B, N]; pictures lie side by side in one call that an exporter can trace."""
    pictures, number = scores.shape
    shift = torch.arange(pictures, device=boxes.device, dtype=boxes.dtype) * (boxes.amax() + 2.0)
    kept = ops.nms((boxes + shift[:, None, None]).reshape(-1, 4), scores.reshape(-1), iou)
    chosen = torch.zeros(pictures * number, device=boxes.device, dtype=torch.int64)
    return chosen.scatter(0, kept, torch.ones_like(kept)).view(pictures, number) > 0


def _first_kept(boxes: Tensor, kept: Tensor, present: Tensor, count: int) -> Tensor:
    """The first ``count`` of the kept boxes of each picture, [B, count, 4], then zeros."""
    kept = kept & present
    place = torch.where(kept, kept.long().cumsum(dim=1) - 1, count).clamp_max(count)
    proposals = boxes.new_zeros(boxes.shape[0], count + 1, 4)
    return proposals.scatter(1, place[..., None].expand(-1, -1, 4), boxes)[:, :count]


def crop_and_resize(features: Tensor, rois: Tensor, *, height: int, width: int, size: int) -> Tensor:
    """Returns bilinear crops of regions, float32 [B·R, C, size, size]; their outer samples lie on the region's edges.

    The pixel (W - 1, H - 1) is the centre of the map's last cell. Samples beyond that cell are zero. Rounding counts:
    of regions that end at the picture's edge, float32 puts some last samples beyond the cell by one unit in the last
    place, in the order of operations of TensorFlow's ``crop_and_resize`` which is kept here, and then the whole row or
    column is zero.

    Args:
        features: [B, C, h, w].
        rois: float32 [B, R, 4].
        height: of the picture, pixels.
        width: of the picture, pixels.
        size: rows and columns of a crop.
    """
    pictures, number = rois.shape[:2]
    cells_y, cells_x = features.shape[2] - 1, features.shape[3] - 1
    shares = (rois / torch.tensor([width - 1.0, height - 1.0] * 2, device=rois.device)).reshape(-1, 4)
    steps = torch.arange(size, device=rois.device, dtype=rois.dtype)
    inside, edges = [], []
    for low, high, cells in ((shares[:, 0], shares[:, 2], cells_x), (shares[:, 1], shares[:, 3], cells_y)):
        start, step = low * cells, (high - low) * cells / (size - 1)
        samples = start[:, None] + steps * step[:, None]
        inside.append((samples >= 0) & (samples <= cells))
        # roi_align samples the middle of each bin and takes the middle of the first cell for 0.5.
        edges.append((start - 0.5 * step + 0.5, start + (size - 0.5) * step + 0.5))
    owners = torch.arange(pictures, device=rois.device, dtype=rois.dtype)[:, None].expand(-1, number).reshape(-1)
    (left, right), (top, bottom) = edges
    boxes = torch.stack([owners, left, top, right, bottom], dim=1)
    crops: Tensor = ops.roi_align(features.float(), boxes, size, spatial_scale=1.0, sampling_ratio=1, aligned=True)
    return crops * (inside[1][:, :, None] & inside[0][:, None, :])[:, None]
