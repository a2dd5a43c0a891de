"""Which anchor answers for which object."""

from __future__ import annotations

import torch
from torch import Tensor

from xraycls.models.torchvision import ops
from xraycls.types import Objects

BACKGROUND, NEUTRAL = -1, -2
_UNAVAILABLE = -1.0  # in place of an overlap


def match(
    objects: Tensor, anchors: Tensor, positive: float = 0.5, negative: float = 0.5, present: Tensor | None = None
) -> Tensor:
    """Give every anchor an object, the background or nothing (Liu et al. 2016, section 2.2; order as TAO's SSD).

    First each object gets an anchor of its own: the pair of the highest IoU in turn, ties to the lowest index. Then
    every other anchor takes the object it overlaps most if that is by ``positive`` or more. What is left is
    background if it overlaps every object by less than ``negative``, else neutral: neither right nor wrong.

    Args:
        objects: [..., n, 4], left, top, right, bottom; of one picture or of several.
        anchors: [a, 4], likewise.
        positive: IoU, 0–1.
        negative: IoU, 0–1, not above ``positive``.
        present: bool [..., n], which of the objects are there, the others filling pictures up to n; None for all.

    Returns:
        int64 [..., a]: the object's index in its picture, ``BACKGROUND`` or ``NEUTRAL``.
    """
    *pictures, count, _ = objects.shape
    matches = torch.full((*pictures, len(anchors)), BACKGROUND, dtype=torch.int64, device=anchors.device)
    if not count:
        return matches
    iou = ops.box_iou(objects.reshape(-1, 4), anchors).view(*pictures, count, len(anchors))
    if present is not None:
        iou = iou.where(present[..., None], _UNAVAILABLE)
    overlap, nearest = iou.max(dim=-2)
    matches = torch.where(overlap >= negative, NEUTRAL, matches)
    matches = torch.where(overlap >= positive, nearest, matches)
    return _with_own_anchors(matches, iou.clone())


def _with_own_anchors(matches: Tensor, iou: Tensor) -> Tensor:
    """The greedy bipartite part, of all pictures at once; ``iou`` is used up."""
    *pictures, count, anchors = iou.shape
    for _ in range(count):
        best, anchor = iou.max(dim=-1)
        overlap, index = best.max(dim=-1, keepdim=True)
        own = anchor.gather(-1, index)
        kept = torch.where(overlap == _UNAVAILABLE, matches.gather(-1, own), index)
        matches.scatter_(-1, own, kept)
        iou.scatter_(-1, own[..., None, :].expand(*pictures, count, 1), _UNAVAILABLE)  # taken
        iou.scatter_(-2, index[..., None].expand(*pictures, 1, anchors), _UNAVAILABLE)  # served
    return matches


def by_picture(objects: Objects, pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns boxes [B, n, 4], classes int64 [B, n] and which of them are there, bool [B, n].

    n is the most objects in a picture, or 1. A step then costs the same few kernels, however many pictures and objects
    there are.
    """
    counts = torch.bincount(objects.owners, minlength=pictures)
    place = torch.arange(len(objects.owners), device=counts.device) - (counts.cumsum(0) - counts)[objects.owners]
    shape = pictures, max(int(counts.max()), 1)
    at = objects.owners, place
    boxes = objects.boxes.new_zeros(*shape, 4).index_put(at, objects.boxes)
    classes = objects.labels.new_zeros(shape).index_put(at, objects.labels)
    return boxes, classes, counts[:, None] > torch.arange(shape[1], device=counts.device)
