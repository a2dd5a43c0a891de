"""The losses that an SSD learns by."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from xraycls.models.detection.matching import BACKGROUND

_SMALLEST = math.log(1e-15)


def hard_negative_loss(
    logits: Tensor, offsets: Tensor, matches: Tensor, labels: Tensor, targets: Tensor, *, neg_pos: float, alpha: float
) -> Tensor:
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
        alpha: weight of the box loss.
    """
    positive, background = matches >= 0, matches == BACKGROUND
    log_probabilities = F.log_softmax(logits.float(), dim=-1).clamp_min(_SMALLEST)
    of_background = torch.where(background, -log_probabilities[..., 0], 0.0).flatten()
    count = positive.sum()
    kept = torch.minimum((neg_pos * count).long(), (of_background > 0).sum())
    hardest = of_background.sort(descending=True).values
    negatives = torch.where(torch.arange(len(hardest), device=logits.device) < kept, hardest, 0.0).sum()
    positives = -log_probabilities[positive].gather(1, labels[positive][:, None]).sum()
    boxes = _box_loss(offsets, targets, positive)
    return (positives + negatives + alpha * boxes) / count.clamp_min(1)


def focal_loss(
    logits: Tensor,
    offsets: Tensor,
    matches: Tensor,
    labels: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    gamma: float,
    loc_weight: float,
) -> Tensor:
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
        loc_weight: weight of the box loss.
    """
    positive, background = matches >= 0, matches == BACKGROUND
    scores = logits[..., 1:].float()
    truth = torch.zeros_like(scores)
    truth[positive] = F.one_hot(labels[positive] - 1, scores.shape[-1]).to(truth.dtype)
    wrong: Tensor = sigmoid_focal_loss(scores, truth, alpha=alpha, gamma=gamma, reduction="none")
    classes = (wrong * (positive | background)[..., None]).sum()
    return (classes + loc_weight * _box_loss(offsets, targets, positive)) / positive.sum().clamp_min(1)


def _box_loss(offsets: Tensor, targets: Tensor, positive: Tensor) -> Tensor:
    return F.smooth_l1_loss(offsets[positive].float(), targets[positive].float(), reduction="sum", beta=1.0)
