"""What a Faster R-CNN learns from: targets of anchors and of regions of interest, their samples, and the four losses.

The rules are those of TAO's Faster R-CNN. Overlaps count both border pixels of a box: its width is right - left + 1.
Random numbers come in as arguments, uniform in [0, 1), so that a draw can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xraycls.models.detection.proposals import ProposalSettings, encode_rois
from xraycls.types import Objects

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
"""Labels of anchors."""

PADDING = -1
"""The label of a region that fills up a sample."""

TRAINING: Mapping[str, Any] = {
    "recipe": {"kind": "detectnet", "smallest": (1.0, 1.0)},
    "optimizer": {"name": "sgd", "options": {"momentum": 0.9, "nesterov": False}},
    "rate": {
        "kind": "soft_start_steps",
        "start": 0.002,
        "base": 0.02,
        "soft_start": 0.1,
        "points": (0.8, 0.9),
        "divider": 10.0,
    },
    "regularizer": {"kind": "L2", "weight": 1e-4},
    "loop": {"epochs": 12},
    "evaluation": {"mode": "integrate", "rule": "voc"},
}
"""Settings of a job where YAML or Python says nothing, of TAO's sample specs, less the blocks that they freeze: these
are for pretrained weights."""

_RPN_BETA = 1 / 9  # of the smooth L1 loss of anchors: sigma 3


@dataclass(frozen=True, slots=True)
class FasterRCNNLoss:
    """What the network learns from. Names of the spec's fields are given in brackets.

    Attributes:
        proposals: those of training.
        rpn_positive: overlap from which an anchor is positive, 0-1 (``rpn_max_overlap``).
        rpn_negative: overlap up to which it is negative, 0-1 (``rpn_min_overlap``).
        rpn_batch: anchors of a picture that count (``rpn_mini_batch``).
        roi_positive: overlap from which a region has an object, 0-1 (``classifier_max_overlap``).
        roi_negative: overlap from which it is background, 0-1 (``classifier_min_overlap``).
        roi_batch: regions of a picture that count (``roi_mini_batch``).
        gt_as_roi: whether the objects' own boxes are regions, too.
        rpn_class_weight: of the anchors' classes (``lambda_rpn_class``).
        rpn_box_weight: of the anchors' boxes (``lambda_rpn_regr``).
        roi_class_weight: of the regions' classes (``lambda_cls_class``).
        roi_box_weight: of the regions' boxes (``lambda_cls_regr``).
    """

    proposals: ProposalSettings = field(default=ProposalSettings(12000, 2000, 0.7))
    rpn_positive: float = 0.7
    rpn_negative: float = 0.3
    rpn_batch: int = 256
    roi_positive: float = 0.5
    roi_negative: float = 0.0
    roi_batch: int = 256
    gt_as_roi: bool = False
    rpn_class_weight: float = 1.0
    rpn_box_weight: float = 1.0
    roi_class_weight: float = 1.0
    roi_box_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class PaddedObjects:
    """The objects of a batch, as many rows a picture as the fullest one has.

    Attributes:
        boxes: float32 [B, G, 4], whole pixels within the picture.
        labels: int64 [B, G], from 0.
        present: bool [B, G]; False where a row is filled up, or nothing of a box lies in the picture.
    """

    boxes: Tensor
    labels: Tensor
    present: Tensor

    @classmethod
    def of(cls, objects: Objects, pictures: int, height: int, width: int) -> PaddedObjects:
        """Returns the objects of ``pictures`` pictures, coordinates rounded and clipped to the last row and column."""
        counts = torch.bincount(objects.owners, minlength=pictures)
        rows = int(counts.max()) if len(objects.labels) else 0
        place = torch.arange(len(objects.owners), device=counts.device) - (counts.cumsum(0) - counts)[objects.owners]
        limits = objects.boxes.new_tensor([width - 1.0, height - 1.0] * 2)
        rounded = torch.minimum(objects.boxes.round().clamp_min(0.0), limits)
        boxes = rounded.new_zeros(pictures, rows, 4)
        labels = objects.labels.new_zeros(pictures, rows)
        present = torch.zeros_like(labels, dtype=torch.bool)
        boxes[objects.owners, place] = rounded
        labels[objects.owners, place] = objects.labels
        present[objects.owners, place] = (rounded[:, :2] < rounded[:, 2:]).all(dim=-1)
        return cls(boxes, labels, present)


def overlaps(boxes: Tensor, objects: PaddedObjects) -> Tensor:
    """Returns the IoU of boxes [B, N, 4] or [N, 4] with the objects of their picture, [B, N, G]; -1 where none is."""
    ours, theirs = boxes[..., :, None, :], objects.boxes[:, None]
    low, high = torch.maximum(ours[..., :2], theirs[..., :2]), torch.minimum(ours[..., 2:], theirs[..., 2:])
    common = (high - low + 1.0).clamp_min(0.0).prod(dim=-1)
    union = _area(ours) + _area(theirs) - common
    return (common / union).masked_fill(~objects.present[:, None], -1.0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2] + 1.0).clamp_min(0.0).prod(dim=-1)


def anchor_targets(
    anchors: Tensor, objects: PaddedObjects, *, height: int, width: int, positive: float, negative: float
) -> tuple[Tensor, Tensor]:
    """Returns the labels of anchors, int64 [B, N], and the deltas to their objects, [B, N, 4] (0 but at positives).

    Anchors that reach beyond the picture are ignored. An anchor is positive if it overlaps an object by ``positive`` or
    more. An object that none of these chose gets the anchor that overlaps it most, if it overlaps it at all; of several
    such objects of one anchor the last gets it. Of the others those with no overlap above ``negative`` are negative.

    Args:
        anchors: float32 [N, 4], centre x and y, width and height, pixels.
        objects: what there is.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
        positive: IoU, 0-1 (``rpn_max_overlap``).
        negative: IoU, 0-1 (``rpn_min_overlap``).
    """
    corners = torch.cat([anchors[:, :2] - anchors[:, 2:] / 2.0, anchors[:, :2] + anchors[:, 2:] / 2.0], dim=-1)
    limits = corners.new_tensor([width - 1.0, height - 1.0])
    inside = (corners[:, :2] >= 0).all(dim=-1) & (corners[:, 2:] <= limits).all(dim=-1)
    pictures, rows = objects.labels.shape
    labels = torch.where(inside, NEGATIVE, IGNORED).expand(pictures, -1).clone()
    if not rows:
        return labels, corners.new_zeros(*labels.shape, 4)
    iou = overlaps(corners, objects)
    iou = torch.where(inside[:, None] | (iou < 0), iou, 0.0)
    best, nearest = iou.max(dim=2)
    labels[best > negative] = IGNORED
    labels[best >= positive] = POSITIVE
    choices = torch.zeros_like(objects.labels).scatter_add(1, nearest, (best >= positive).long())
    overlap, anchor = iou.max(dim=1)
    missed = objects.present & (choices == 0) & (overlap > 0)
    row = torch.where(missed, torch.arange(rows, device=labels.device), -1)
    last = torch.full_like(labels, -1).scatter_reduce(1, anchor, row, "amax")
    labels = torch.where(last >= 0, POSITIVE, labels)
    nearest = torch.where(last >= 0, last, nearest)
    own = objects.boxes.gather(1, nearest[..., None].expand(-1, -1, 4))
    is_positive = (labels == POSITIVE)[..., None]
    return labels, torch.where(is_positive, encode_rois(own, corners.expand_as(own)), 0.0)


def sample_anchors(labels: Tensor, draws: Tensor, number: int) -> Tensor:
    """Returns the labels of the anchors that count, at most ``number`` a picture, the others ``IGNORED``.

    At most half are positive; negatives fill up what is left. The surplus of each is left out from the lowest draw on.

    Args:
        labels: int64 [B, N], of :func:`anchor_targets`.
        draws: float32 [B, N].
        number: ``rpn_mini_batch``.
    """
    positives, negatives = (labels == POSITIVE).sum(dim=1), (labels == NEGATIVE).sum(dim=1)
    room = (number - positives.clamp_max(number // 2)).clamp_min(0)
    for label, surplus in ((POSITIVE, positives - number // 2), (NEGATIVE, negatives - room)):
        order = draws.masked_fill(labels != label, torch.inf).argsort(dim=1, stable=True)
        left_out = torch.arange(labels.shape[1], device=labels.device) < surplus[:, None]
        labels = labels.masked_fill(torch.zeros_like(left_out).scatter(1, order, left_out), IGNORED)
    return labels


@dataclass(frozen=True, slots=True)
class RoITargets:
    """A sample of regions of interest and what the network should say of them.

    Attributes:
        rows: int64 [B, R], which of the given regions they are.
        rois: float32 [B, R, 4], those with an object first; zeros where padded.
        labels: int64 [B, R]: the object's class, the number of classes for the background, or ``PADDING``.
        deltas: float32 [B, R, 4] to the object, multiplied by ``classifier_regr_std``; 0 without an object.
    """

    rows: Tensor
    rois: Tensor
    labels: Tensor
    deltas: Tensor


def roi_targets(
    rois: Tensor,
    objects: PaddedObjects,
    draws: Tensor,
    *,
    classes: int,
    number: int,
    positive: float,
    negative: float,
    spread: Tensor,
) -> RoITargets:
    """Returns ``number`` regions a picture, a quarter of them at most with an object, and their targets.

    A region has the object that it overlaps most if that is by ``positive`` or more, and is background if it is by
    ``negative`` or more, but less than ``positive``. Regions are taken from the lowest draw on. If the background has
    too few they are drawn with replacement, and so are those of a picture that has regions of one kind only; a picture
    without either gives padding. In a picture without objects every overlap is 0.

    Args:
        rois: float32 [B, N, 4]; regions of zeros are padding.
        objects: what there is.
        draws: float32 [B, 2, max(N, number)]: the order of regions, and the draws with replacement.
        classes: number of classes without the background.
        number: ``roi_mini_batch``.
        positive: IoU, 0-1 (``classifier_max_overlap``).
        negative: IoU, 0-1 (``classifier_min_overlap``).
        spread: [4], that deltas are multiplied by (``classifier_regr_std``).
    """
    present = rois.abs().sum(dim=-1) > 0
    if objects.labels.shape[1]:
        best, nearest = overlaps(rois, objects).max(dim=2)
    else:
        best, nearest = torch.zeros_like(rois[..., 0]), torch.zeros_like(rois[..., 0], dtype=torch.int64)
    best = best.clamp_min(0.0)
    is_positive = present & (best >= positive)
    is_negative = present & (best < positive) & (best >= negative)
    taken, quota = _take(is_positive, is_negative, draws, number)
    slot = torch.arange(number, device=rois.device)
    filled = (is_positive | is_negative).any(dim=1, keepdim=True)
    with_object = (slot < quota) & filled
    rows = taken[..., None].expand(-1, -1, 4)
    chosen = rois.gather(1, rows) * filled[..., None]
    labels = torch.where(with_object, classes, torch.where(filled, classes, PADDING))
    deltas = torch.zeros_like(chosen)
    if objects.labels.shape[1]:
        object_row = nearest.gather(1, taken)
        labels = torch.where(with_object, objects.labels.gather(1, object_row), labels)
        own = objects.boxes.gather(1, object_row[..., None].expand(-1, -1, 4))
        deltas = torch.where(with_object[..., None], encode_rois(own, chosen) * spread, 0.0)
    return RoITargets(taken, chosen, labels, deltas)


def _take(positive: Tensor, negative: Tensor, draws: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Rows of regions that are taken, int64 [B, number], and how many of them are positive, int64 [B, 1]."""
    regions = positive.shape[1]
    keys, again = draws[:, 0, :regions], draws[:, 1, :number]
    positives, negatives = positive.sum(dim=1, keepdim=True), negative.sum(dim=1, keepdim=True)
    quota = positives.clamp_max(number // 4)
    quota = torch.where(negatives == 0, number, quota) * (positives > 0)
    slot = torch.arange(number, device=keys.device).expand(len(keys), -1)
    taken = torch.zeros_like(slot)
    for kind, count, wanted, first in (
        (positive, positives, quota, torch.zeros_like(quota)),
        (negative, negatives, number - quota, quota),
    ):
        order = keys.masked_fill(~kind, torch.inf).argsort(dim=1, stable=True)
        repeated = (again * count).long()
        place = torch.where(count >= wanted, slot - first, repeated).clamp(0, regions - 1)
        taken = torch.where((slot >= first) & (slot < first + wanted), order.gather(1, place), taken)
    return taken, quota


def rpn_losses(
    logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor, weights: Tensor, number: int
) -> tuple[Tensor, Tensor]:
    """Returns the binary cross-entropy and the smooth L1 loss (sigma 3) of anchors.

    Args:
        logits: [B, N].
        deltas: [B, N, 4].
        labels: int64 [B, N]; ``IGNORED`` ones do not count.
        targets: [B, N, 4].
        weights: [B], 0 for a picture that adds nothing.
        number: that sums are divided by (``rpn_mini_batch``).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, (labels == POSITIVE).to(logits.dtype), reduction="none")
    boxes = F.smooth_l1_loss(deltas, targets, reduction="none", beta=_RPN_BETA).sum(dim=-1)
    classes = torch.where(labels != IGNORED, entropy, 0.0).sum(dim=1)
    boxes = torch.where(labels == POSITIVE, boxes, 0.0).sum(dim=1)
    return _mean(classes, weights) / number, _mean(boxes, weights) / number


def roi_losses(logits: Tensor, deltas: Tensor, targets: RoITargets, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy and the smooth L1 loss (sigma 1) of regions, both divided by the regions of a sample.

    Args:
        logits: [B, R, C + 1], the background last.
        deltas: [B, R, C, 4].
        targets: of the same regions.
        weights: [B], 0 for a picture that adds nothing.
    """
    number, classes = targets.labels.shape[1], deltas.shape[2]
    entropy = F.cross_entropy(logits.flatten(0, 1), targets.labels.flatten(), reduction="none", ignore_index=PADDING)
    has_object = (targets.labels != PADDING) & (targets.labels < classes)
    own = targets.labels.clamp(0, classes - 1)[..., None, None].expand(-1, -1, 1, 4)
    boxes = F.smooth_l1_loss(deltas.gather(2, own)[:, :, 0], targets.deltas, reduction="none").sum(dim=-1)
    boxes = torch.where(has_object, boxes, 0.0).sum(dim=1)
    return _mean(entropy.view_as(targets.labels).sum(dim=1), weights) / number, _mean(boxes, weights) / number


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Over the pictures that count."""
    return (values * weights).sum() / weights.sum().clamp_min(1.0)


def by_anchor(values: Tensor, size: int) -> Tensor:
    """Returns maps [B, A·size, h, w] as [B, N, size], by row, column and shape."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, size)
