"""How a YOLOv4 learns: which predictions answer for which object, and the four terms of its loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xraycls.models.detection.matching import by_picture
from xraycls.types import Objects

_LOCKED = 2.0  # above every IoU: an object's best anchor is its own
_TINY = 1e-18  # keeps the weight of equal boxes a number
_INSIDE = 1e-3  # cells short of the far edge, where centres on the edge are counted


@dataclass(frozen=True, slots=True)
class YOLOv4Loss:
    """Settings of the loss (TAO 5 YOLOv4).

    Attributes:
        matching: IoU of shapes above which an anchor answers for an object besides the best one, 0–1.
        neutral: predictions that overlap an object by this IoU or more are not taught to be background, 0–1.
        box_weight: factor of the box loss.
        class_weight: factor of the class loss.
        background_weight: factor of the objectness loss where there is no object.
        smoothing: label smoothing of objectness and classes, 0–1.
        focal: alpha and gamma of a focal loss of objectness and classes (Lin et al. 2017); None for cross-entropy.
        class_weights: factor of the box and class losses of each class, in the order of the classes; empty for 1.
    """

    matching: float = 0.25
    neutral: float = 0.5
    box_weight: float = 1.0
    class_weight: float = 1.0
    background_weight: float = 1.0
    smoothing: float = 0.0
    focal: tuple[float, float] | None = None
    class_weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The predictions of a batch that answer for an object, one row each.

    Attributes:
        pictures: int64 [P], rows of the batch.
        slots: int64 [P], predictions of the picture.
        owners: int64 [P], rows of the objects.
    """

    pictures: Tensor
    slots: Tensor
    owners: Tensor


def assign(
    objects: Objects, anchors: Sequence[Tensor], maps: Sequence[tuple[int, int]], size: Tensor, matching: float
) -> Assignment:
    """Returns which predictions answer for which objects.

    The best anchor of an object and every anchor whose shape overlaps it by more than ``matching``, with aligned
    centres, answer for it in the cell that holds its centre. Where two objects want the same place, the one whose
    best anchor it is gets it, of two such the later; else the one of the larger IoU, of equals the earlier.

    Args:
        objects: the ground truth of a batch.
        anchors: of each map, float [K, 2], width and height in shares of the picture.
        maps: rows and columns of each map, in the order of the predictions: by map, row, column and anchor.
        size: float [4], width and height of the picture in pixels, twice.
        matching: IoU, 0–1.
    """
    device = objects.boxes.device
    real = torch.float32 if device.type == "mps" else torch.float64  # decides for centres on the border of two cells
    boxes = objects.boxes.to(real) / size.to(real)
    shapes = torch.cat([anchor.to(device, real) for anchor in anchors])
    counts = torch.tensor([len(anchor) for anchor in anchors], device=device)
    cells = torch.tensor(maps, dtype=real, device=device)
    first = torch.cat([counts.new_zeros(1), (counts * cells.prod(1).long()).cumsum(0)[:-1]])
    of_map = torch.arange(len(anchors), device=device).repeat_interleave(counts)
    of_cell = torch.cat([torch.arange(len(anchor), device=device) for anchor in anchors])

    row = _cells((boxes[:, 1] + boxes[:, 3]) / 2, cells[:, 0])
    column = _cells((boxes[:, 0] + boxes[:, 2]) / 2, cells[:, 1])
    cell = (row * cells[:, 1].long() + column)[:, of_map]
    slots = first[of_map] + cell * counts[of_map] + of_cell  # [n, anchors]

    iou = _shape_iou(boxes[:, 2:] - boxes[:, :2], shapes)
    best = F.one_hot(iou.argmax(1), len(shapes)).bool()
    owner, anchor = torch.nonzero(best | (iou > matching), as_tuple=True)
    claims = torch.where(best, _LOCKED, iou)[owner, anchor]
    turns = torch.where(best[owner, anchor], owner, -owner).to(real)
    pictures, wanted = objects.owners[owner], slots[owner, anchor]
    predictions = first[-1] + counts[-1] * cells[-1].prod().long()
    _, place = torch.unique(pictures * predictions + wanted, return_inverse=True)
    strongest = claims == _largest(claims, place)
    won = strongest & (turns == _largest(torch.where(strongest, turns, -torch.inf), place))
    return Assignment(pictures[won], wanted[won], owner[won])


def yolo_v4_loss(
    predictions: Tensor,
    assignment: Assignment,
    objects: Objects,
    weights: Tensor,
    size: Tensor,
    settings: YOLOv4Loss,
) -> dict[str, Tensor]:
    """Returns the losses "boxes", "objects", "classes" and "background": sums over a batch, divided by its pictures.

    Args:
        predictions: [B, N, 5 + classes]: centre y and x, height and width in shares of the picture, logits of
            objectness and classes; see :func:`xraycls.models.detection.yolo_v4.decode`.
        assignment: which of them answer for objects.
        objects: the ground truth.
        weights: [B]; pictures of weight 0 add nothing and aren't counted.
        size: float [4], width and height of the picture in pixels, twice.
        settings: factors and thresholds.
    """
    readable = weights > 0
    count = readable.sum().clamp_min(1)
    taught = readable[assignment.pictures]
    pictures, slots, owners = (part[taught] for part in (assignment.pictures, assignment.slots, assignment.owners))
    positive = predictions[pictures, slots]
    targets, labels = centred(objects.boxes / size)[owners], objects.labels[owners]
    factors = torch.tensor(settings.class_weights or (1.0,), device=predictions.device)
    factors = factors[labels] if settings.class_weights else factors.expand(labels.shape[0])

    boxes = ciou_loss(positive[:, :4], targets) * (2.0 - targets[:, 2] * targets[:, 3]) * factors
    one_hot = F.one_hot(labels, predictions.shape[-1] - 5).to(predictions.dtype)
    classes = _entropy(positive[:, 5:], one_hot, settings).sum(-1) * factors
    found = _entropy(positive[:, 4], torch.ones_like(positive[:, 4]), settings)
    background = readable[:, None] & (_overlap(predictions, assignment, objects, size) < settings.neutral)
    background[pictures, slots] = False
    empty = _entropy(predictions[..., 4], torch.zeros_like(predictions[..., 4]), settings)
    return {
        "boxes": settings.box_weight * boxes.sum() / count,
        "objects": found.sum() / count,
        "classes": settings.class_weight * classes.sum() / count,
        "background": settings.background_weight * torch.where(background, empty, 0.0).sum() / count,
    }


def ciou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Complete IoU loss (Zheng et al. 2020) of boxes and targets [n, 4] as centre y and x, height and width; [n].

    Unlike :func:`torchvision.ops.complete_box_iou_loss` it lets the gradient pass through the weight of the term of
    shapes, as TAO does.
    """
    low, high = corners(boxes)
    target_low, target_high = corners(targets)
    common = (torch.minimum(high, target_high) - torch.maximum(low, target_low)).clamp_min(0.0).prod(-1)
    iou = common / (boxes[:, 2:].prod(-1) + targets[:, 2:].prod(-1) - common)
    diagonal = (torch.maximum(high, target_high) - torch.minimum(low, target_low)).square().sum(-1)
    distance = (boxes[:, :2] - targets[:, :2]).square().sum(-1)
    angles = torch.atan2(targets[:, 3], targets[:, 2]) - torch.atan2(boxes[:, 3], boxes[:, 2])
    shape = 4.0 / math.pi**2 * angles.square()
    weight = shape / (1.0 - iou + shape + _TINY)
    return 1.0 - iou + distance / diagonal + weight * shape


def centred(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] of left, top, right, bottom as centre y and x, height and width."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([(top + bottom) / 2, (left + right) / 2, bottom - top, right - left], dim=-1)


def corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The upper left and the lower right corners [..., 2] as y and x of boxes as centre y and x, height and width."""
    centre, half = boxes[..., :2], boxes[..., 2:4] / 2
    return centre - half, centre + half


def _overlap(predictions: Tensor, assignment: Assignment, objects: Objects, size: Tensor) -> Tensor:
    """The largest IoU [B, N] of each prediction with an object that a prediction answers for; 0 where there is none."""
    with torch.no_grad():
        truth, _, present = by_picture(objects, predictions.shape[0])
        answered = torch.zeros_like(objects.owners, dtype=torch.bool)
        answered[assignment.owners] = True
        low, high = corners(predictions[..., None, :4])
        target_low, target_high = corners(centred(truth / size)[:, None])
        common = (torch.minimum(high, target_high) - torch.maximum(low, target_low)).clamp_min(0.0).prod(-1)
        areas = (high - low).prod(-1) + (target_high - target_low).prod(-1)
        counted = present.clone()
        counted[present] = answered  # objects come picture by picture, as the rows of a mask do
        return torch.where(counted[:, None], common / (areas - common), 0.0).amax(-1)


def _entropy(logits: Tensor, truth: Tensor, settings: YOLOv4Loss) -> Tensor:
    """Binary cross-entropy, smoothed and focal as the settings say; of the shape of the logits."""
    truth = truth * (1.0 - settings.smoothing) + settings.smoothing / 2.0
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if settings.focal is None:
        return entropy
    alpha, gamma = settings.focal
    probability = logits.sigmoid()
    right = truth * probability + (1.0 - truth) * (1.0 - probability)
    return (1.0 - right) ** gamma * (truth * alpha + (1.0 - truth) * (1.0 - alpha)) * entropy


def _cells(centres: Tensor, count: Tensor) -> Tensor:
    """Rows or columns int64 [n, maps] of centres [n] in shares of the picture; ``count`` [maps] is their number."""
    return (centres[:, None] / (1.0 / count)).clamp_min(0).minimum(count - _INSIDE).floor().long()


def _shape_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU [n, m] of widths and heights [n, 2] and [m, 2], with aligned centres."""
    common = torch.minimum(first[:, None], second).prod(-1)
    return common / (first.prod(-1)[:, None] + second.prod(-1) - common)


def _largest(values: Tensor, place: Tensor) -> Tensor:
    """The largest of the values [n] that share a place, [n]; places are numbered from 0."""
    lowest = values.new_full((len(values),), -torch.inf)
    return lowest.scatter_reduce(0, place, values, "amax")[place]
