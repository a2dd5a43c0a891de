"""From the scores and boxes of anchors to detections, for a whole batch on its device."""

from __future__ import annotations

import torch
from torch import Tensor

from xraycls.models.detection.base import Suppression
from xraycls.models.torchvision import ops
from xraycls.types import Detections

_CANDIDATES = 8  # of a picture that are looked at first, for each box to keep
_REACH = 2.0**19  # pixels, beyond which boxes are cut off to be compared
_AT_ONCE = 1 << 15  # boxes in one call on a GPU, whose memory goes by the square


def detections_of(probabilities: Tensor, boxes: Tensor, rules: Suppression) -> list[Detections]:
    """Returns the detections of each picture of a batch.

    Args:
        probabilities: [B, A, C] of the classes without the background, 0–1.
        boxes: [B, A, 4], left, top, right, bottom in pixels of the input; or [B, A, C, 4], one for each class.
        rules: which boxes are kept.
    """
    kept = suppress_batch(
        probabilities.detach(), boxes.detach(), confidence=rules.confidence, iou=rules.iou, top_k=rules.top_k
    )
    corners, labels, scores, pictures = (part.cpu() for part in kept)
    counts = pictures.bincount(minlength=probabilities.shape[0]).tolist()
    parts = zip(*(torch.split(part, counts) for part in (corners.float(), labels, scores.float())), strict=True)
    return [Detections(*(part.numpy() for part in picture)) for picture in parts]


def suppress(
    probabilities: Tensor, boxes: Tensor, *, confidence: float, iou: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what :func:`suppress_batch` keeps of one picture: boxes [n, 4], classes int64 [n] and scores [n].

    Args:
        probabilities: [A, C].
        boxes: [A, 4], or [A, C, 4].
        confidence: boxes must score more.
        iou: 0–1.
        top_k: 1 or more.
    """
    kept = suppress_batch(probabilities[None], boxes[None], confidence=confidence, iou=iou, top_k=top_k)
    return kept[:3]


def suppress_batch(
    probabilities: Tensor, boxes: Tensor, *, confidence: float, iou: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Non-maximum suppression of a batch, picture by picture and class by class.

    A box goes when a better one of its picture and class overlaps it by more than ``iou``; at most ``top_k`` stay of a
    class, and of a picture. Both thresholds are compared as float32, as the numbers are. Of equal scores the lower
    class goes first, and in a class the lower anchor.

    Args:
        probabilities: [B, A, C] of the classes without background, 0–1.
        boxes: [B, A, 4], left, top, right, bottom; or [B, A, C, 4], one for each class.
        confidence: boxes must score more than this, not just as much.
        iou: 0–1.
        top_k: 1 or more.

    Returns:
        Boxes [n, 4], classes int64 [n], scores [n] and pictures int64 [n], by picture and by falling score.
    """
    count, classes = probabilities.shape[0], probabilities.shape[2]
    picture, label, anchor = torch.nonzero((probabilities > confidence).transpose(1, 2), as_tuple=True)
    scores = probabilities[picture, anchor, label]
    order = scores.argsort(descending=True, stable=True)
    order = order[picture[order].argsort(stable=True)]
    picture, label, anchor, scores = (each[order] for each in (picture, label, anchor, scores))
    own = boxes[picture, anchor, label] if boxes.ndim == 4 else boxes[picture, anchor]
    limit = torch.tensor(iou, dtype=torch.float32)
    above = limit.nextafter(torch.tensor(torch.inf))  # what is nearer to this is above the limit as float32
    between = (limit.double() + above.double()).item() / 2
    places, numbers = _places(picture, count), picture.bincount(minlength=count)
    looked_at = 0
    while True:  # greedy by falling score: it needs no more candidates than it takes to keep top_k
        looked_at = max(4 * looked_at, _CANDIDATES * top_k)
        rows = torch.nonzero(places < looked_at)[:, 0]
        kept = rows[remaining(own[rows], picture[rows], picture[rows] * classes + label[rows], between)]
        kept = kept[_places(picture[kept], count) < top_k]
        enough = picture[kept].bincount(minlength=count) == top_k
        if bool((enough | (numbers <= looked_at)).all()):
            return own[kept], label[kept], scores[kept], picture[kept]


def remaining(boxes: Tensor, pictures: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Returns the rows int64 [k], rising, of the boxes that no better box of their group overlaps by more than ``iou``.

    Groups are moved apart as in torchvision's ``batched_nms``, but far enough that boxes beyond the picture don't meet
    those of other groups, and as float64, so that no corner is rounded. A GPU takes many pictures in one call; a CPU,
    whose time goes by the square of the boxes in a call, takes one.

    Args:
        boxes: [n, 4], by picture and by falling score.
        pictures: int64 [n], rising.
        groups: int64 [n]; boxes of two pictures are in different groups.
        iou: 0–1.
    """
    device = boxes.device
    if device.type == "mps":  # has no float64
        boxes, pictures, groups = boxes.cpu(), pictures.cpu(), groups.cpu()
    sizes = pictures.bincount().tolist()
    at_once = 1 if boxes.device.type == "cpu" else max(_AT_ONCE // max(sizes, default=1), 1)
    kept, first = [groups[:0]], 0
    for start in range(0, len(sizes), at_once):
        end = first + sum(sizes[start : start + at_once])
        apart = boxes[first:end].double().clamp(-_REACH, _REACH) + 2 * _REACH * groups[first:end, None]
        falling = -torch.arange(end - first, dtype=torch.float64, device=boxes.device)
        kept.append(first + ops.nms(apart, falling, iou))
        first = end
    return torch.cat(kept).to(device)


def _places(pictures: Tensor, count: int) -> Tensor:
    """The place of each row among those of its picture, from 0, of int64 [n] that rise."""
    numbers = pictures.bincount(minlength=count)
    return torch.arange(len(pictures), device=pictures.device) - (numbers.cumsum(0) - numbers)[pictures]
