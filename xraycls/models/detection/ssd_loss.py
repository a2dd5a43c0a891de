"""The losses of SSD, and the targets that its anchors get from the ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xraycls.models.detection.coding import encode
from xraycls.models.detection.matching import BACKGROUND, NEUTRAL, by_picture, match
from xraycls.models.torchvision import ops
from xraycls.types import Objects

_SMALLEST = math.log(1e-15)


@dataclass(frozen=True, slots=True)
class SSDLoss:
    """Settings of the loss.

    Attributes:
        positive: IoU from which an anchor answers for an object, 0–1.
        negative: IoU from which it isn't background any more, 0–1.
        neg_pos: background anchors a positive that count (hard-negative mining).
        box_weight: factor of the box loss.
        focal: alpha and gamma of the focal loss of TLT 2; None for hard-negative mining.
    """

    positive: float = 0.5
    negative: float = 0.5
    neg_pos: float = 3.0
    box_weight: float = 1.0
    focal: tuple[float, float] | None = None


def ssd_loss(
    logits: Tensor,
    offsets: Tensor,
    objects: Objects,
    weights: Tensor,
    anchors: Tensor,
    variances: Tensor,
    size: Tensor,
    settings: SSDLoss,
) -> dict[str, Tensor]:
    """Returns the losses "classes" and "boxes" of a batch, divided by the number of matched anchors.

    Args:
        logits: [B, A, C + 1], the background first.
        offsets: [B, A, 4], predicted.
        objects: the ground truth.
        weights: [B]; anchors of pictures of weight 0 are neutral.
        anchors: [A, 4] in shares of the picture.
        variances: [4], see :func:`xraycls.models.detection.coding.encode`.
        size: [4], width and height of the input, twice.
        settings: thresholds and weights.
    """
    truth = ssd_targets(objects, weights, anchors, variances, size, settings)
    if settings.focal is not None:
        alpha, gamma = settings.focal
        return focal_loss(logits, offsets, *truth, alpha=alpha, gamma=gamma, box_weight=settings.box_weight)
    return hard_negative_loss(logits, offsets, *truth, neg_pos=settings.neg_pos, box_weight=settings.box_weight)


def ssd_targets(
    objects: Objects, weights: Tensor, anchors: Tensor, variances: Tensor, size: Tensor, settings: SSDLoss
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the anchors should say: matches [B, A], labels [B, A] from 1 and offsets [B, A, 4].

    Arguments are those of :func:`ssd_loss`.
    """
    boxes, classes, present = by_picture(objects, weights.shape[0])
    boxes = boxes / size
    matches = match(boxes, anchors, settings.positive, settings.negative, present)
    matches = torch.where((weights > 0)[:, None], matches, NEUTRAL)
    chosen, found = matches.clamp_min(0), matches >= 0
    offsets = encode(boxes.gather(1, chosen[..., None].expand(-1, -1, 4)), anchors, variances)
    return matches, (classes.gather(1, chosen) + 1) * found, torch.where(found[..., None], offsets, 0.0)


def hard_negative_loss(
    logits: Tensor,
    offsets: Tensor,
    matches: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    neg_pos: float,
    box_weight: float,
) -> dict[str, Tensor]:
    """Cross-entropy with hard-negative mining and smooth L1, over a whole batch (TAO 5 SSD).

    Of the background anchors the ``neg_pos`` times as many as positives that are most wrong count, chosen over the
    batch: a batch without objects has no loss. All is divided by the number of positives.

    Args:
        logits: [b, a, c + 1], the background first.
        offsets: [b, a, 4], predicted.
        matches: int64 [b, a], of :func:`xraycls.models.detection.matching.match`.
        labels: int64 [b, a], 1…c where ``matches`` is 0 or more, else anything.
        targets: [b, a, 4], encoded boxes, likewise.
        neg_pos: background anchors a positive.
        box_weight: factor of the box loss.

    Returns:
        "classes" and "boxes".
    """
    positive, background = matches >= 0, matches == BACKGROUND
    log_probabilities = F.log_softmax(logits.float(), dim=-1).clamp_min(_SMALLEST)
    of_background = torch.where(background, -log_probabilities[..., 0], 0.0).flatten()
    count = positive.sum()
    kept = torch.minimum((neg_pos * count).long(), (of_background > 0).sum())
    hardest = of_background.sort(descending=True).values
    negatives = torch.where(torch.arange(len(hardest), device=logits.device) < kept, hardest, 0.0).sum()
    positives = -log_probabilities[positive].gather(1, labels[positive][:, None]).sum()
    count = count.clamp_min(1)
    return {
        "classes": (positives + negatives) / count,
        "boxes": box_weight * _box_loss(offsets, targets, positive) / count,
    }


def focal_loss(
    logits: Tensor,
    offsets: Tensor,
    matches: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    gamma: float,
    box_weight: float,
) -> dict[str, Tensor]:
    """Sigmoid focal loss (Lin et al. 2017) and smooth L1: what TLT 2's three focal fields meant in RetinaNet.

    Summed over object classes, the background column left out, and over all anchors that aren't neutral; divided by
    the number of positives.

    Args:
        logits: [b, a, c + 1], the background first.
        offsets: [b, a, 4], predicted.
        matches: int64 [b, a].
        labels: int64 [b, a], 1…c at positives.
        targets: [b, a, 4].
        alpha: weight of the object's own class; the others weigh 1 - alpha.
        gamma: how much less a sure answer counts.
        box_weight: factor of the box loss.

    Returns:
        "classes" and "boxes".
    """
    positive, background = matches >= 0, matches == BACKGROUND
    scores = logits[..., 1:].float()
    truth = torch.zeros_like(scores)
    truth[positive] = F.one_hot(labels[positive] - 1, scores.shape[-1]).to(truth.dtype)
    wrong: Tensor = ops.sigmoid_focal_loss(scores, truth, alpha=alpha, gamma=gamma, reduction="none")
    count = positive.sum().clamp_min(1)
    return {
        "classes": (wrong * (positive | background)[..., None]).sum() / count,
        "boxes": box_weight * _box_loss(offsets, targets, positive) / count,
    }


def _box_loss(offsets: Tensor, targets: Tensor, positive: Tensor) -> Tensor:
    return F.smooth_l1_loss(offsets[positive].float(), targets[positive].float(), reduction="sum", beta=1.0)
