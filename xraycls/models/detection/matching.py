"""Which anchor answers for which object."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

BACKGROUND, NEUTRAL = -1, -2


def match(objects: Tensor, anchors: Tensor, positive: float = 0.5, negative: float = 0.5) -> Tensor:
    """Give every anchor an object, the background or nothing (Liu et al. 2016, section 2.2; order as TAO's SSD).

    First each object gets an anchor of its own: the pair of the highest IoU in turn, ties to the lowest index. Then
    every other anchor takes the object it overlaps most if that is by ``positive`` or more. What is left is
    background if it overlaps every object by less than ``negative``, else neutral: neither right nor wrong.

    Args:
        objects: [n, 4], left, top, right, bottom.
        anchors: [a, 4], likewise.
        positive: IoU, 0–1.
        negative: IoU, 0–1, not above ``positive``.

    Returns:
        int64 [a]: the object's index, ``BACKGROUND`` or ``NEUTRAL``.
    """
    matches = torch.full((len(anchors),), BACKGROUND, dtype=torch.int64, device=anchors.device)
    if not len(objects):
        return matches
    iou = box_iou(objects, anchors)
    overlap, nearest = iou.max(dim=0)
    matches[overlap >= negative] = NEUTRAL
    matches = torch.where(overlap >= positive, nearest, matches)
    return _with_own_anchors(matches, iou.clone())


def _with_own_anchors(matches: Tensor, iou: Tensor) -> Tensor:
    """The greedy bipartite part; ``iou`` is used up."""
    for _ in range(len(iou)):
        best, anchor = iou.max(dim=1)
        index = best.argmax()
        matches[anchor[index]] = index
        iou[:, anchor[index]] = -1  # taken
        iou[index] = -2  # served
    return matches
