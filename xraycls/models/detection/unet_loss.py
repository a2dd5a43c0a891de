"""What a U-Net learns from boxes: a mask, a heat map of centres, the distances of sides, and a label of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xraycls.models.torchvision import ops
from xraycls.types import Objects

REACH = 0.125
"""Shares of the map that a raw distance of one stands for."""

_SMOOTH = 1.0  # cells; keeps the overlap of empty masks defined
_WARM = 0.3  # heat from which a cell learns the sides of its object


@dataclass(frozen=True, slots=True)
class UNetLoss:
    """Weights of the terms of the loss, each 0 or more.

    Attributes:
        mask: binary cross-entropy of every cell.
        dice: soft overlap of masks with squared denominator (Milletari et al. 2016).
        centre: penalty-reduced focal loss of centres (Law and Deng 2018).
        sides: generalised IoU of the box that the cells near a centre give (Rezatofighi et al. 2019).
        image: binary cross-entropy of the picture's own label: whether it has an object of each class.
        spread: standard deviation of the heat around a centre as a share of each side of its box, above 0.
    """

    mask: float = 1.0
    dice: float = 0.5
    centre: float = 0.5
    sides: float = 0.5
    image: float = 0.3
    spread: float = 0.18


def unet_loss(
    raw: tuple[Tensor, ...], objects: Objects, weights: Tensor, size: Tensor, settings: UNetLoss
) -> dict[str, Tensor]:
    """Returns the terms of the loss by name; each is a mean over pictures of weight above 0, or over their objects.

    Args:
        raw: of :class:`~xraycls.models.detection.unet_network.UNet`.
        objects: of the batch, in pixels of the input.
        weights: float [B]; pictures of weight 0 add nothing.
        size: float [4], width and height of the input, twice.
        settings: weights of the terms.
    """
    mask, pictures = raw[0].float(), raw[1].float()
    rows, columns = mask.shape[2], mask.shape[3]
    cells = torch.tensor([columns, rows, columns, rows], device=mask.device, dtype=torch.float32)
    boxes = objects.boxes.float() / size * cells
    target = object_masks(boxes, objects, mask.shape)
    count = weights.sum().clamp_min(1.0)

    def averaged(each: Tensor) -> Tensor:
        return (each * weights).sum() / count

    terms = {
        "mask": settings.mask
        * averaged(F.binary_cross_entropy_with_logits(mask, target, reduction="none").mean(dim=(1, 2, 3))),
        "dice": settings.dice * averaged(dice(mask.sigmoid(), target).mean(dim=1)),
        "image": settings.image
        * averaged(
            F.binary_cross_entropy_with_logits(pictures, labels_of(objects, pictures), reduction="none").mean(1)
        ),
    }
    if len(raw) > 2:
        heat = box_heat(boxes, rows, columns, settings.spread)
        wanted = merged(heat, objects, mask.shape)
        terms["centre"] = settings.centre * centre_loss(raw[2].float(), wanted, weights)
        terms["sides"] = settings.sides * sides_loss(raw[3].float(), boxes, heat, objects, weights)
    return terms


def object_masks(boxes: Tensor, objects: Objects, shape: torch.Size) -> Tensor:
    """Returns the share of every cell that objects of its class cover, float [B, classes, h, w], 0–1.

    Those are the masks of the objects where they have some, else their boxes.

    Args:
        boxes: [n, 4] in cells.
        objects: says which picture and class each belongs to.
        shape: of the result.
    """
    if objects.masks is not None:
        own = objects.masks.to(boxes.dtype)[:, None] / 255
        return merged(F.adaptive_avg_pool2d(own, (shape[2], shape[3]))[:, 0], objects, shape)
    across = _covered(boxes[:, 0::2], shape[3])
    down = _covered(boxes[:, 1::2], shape[2])
    return merged(down[:, :, None] * across[:, None, :], objects, shape)


def merged(maps: Tensor, objects: Objects, shape: torch.Size) -> Tensor:
    """Returns the largest of the maps [n, h, w] of each picture's objects of each class, [B, classes, h, w]."""
    number = objects.owners * shape[1] + objects.labels
    return _largest(maps, number, shape[0] * shape[1]).view(shape)


def labels_of(objects: Objects, like: Tensor) -> Tensor:
    """Returns whether each picture has an object of each class, float as ``like`` [B, classes]."""
    labels = torch.zeros_like(like)
    labels[objects.owners, objects.labels] = 1.0
    return labels


def box_heat(boxes: Tensor, rows: int, columns: int, spread: float) -> Tensor:
    """Returns a Gaussian around the centre of each box [n, 4], in cells: [n, rows, columns], 1 at the nearest cell."""
    parts = []
    for low, high, count in ((boxes[:, 1], boxes[:, 3], rows), (boxes[:, 0], boxes[:, 2], columns)):
        nearest = ((low + high) / 2).floor().clamp(0, count - 1)
        cells = torch.arange(count, device=boxes.device, dtype=boxes.dtype)
        sigma = (spread * (high - low)).clamp_min(0.3)
        parts.append(torch.exp(-0.5 * ((cells - nearest[:, None]) / sigma[:, None]) ** 2))
    return parts[0][:, :, None] * parts[1][:, None, :]


def dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """Returns 1 - 2·Σpt / (Σp² + Σt²), smoothed by one cell, of maps [B, C, h, w]: [B, C], 0–1."""
    shared = (probabilities * target).sum(dim=(2, 3))
    squares = probabilities.square().sum(dim=(2, 3)) + target.square().sum(dim=(2, 3))
    return 1 - (2 * shared + _SMOOTH) / (squares + _SMOOTH)


def centre_loss(logits: Tensor, heat: Tensor, weights: Tensor) -> Tensor:
    """Returns the penalty-reduced focal loss of centres over the number of them, a scalar (α = 2, β = 4).

    Args:
        logits: [B, classes, h, w].
        heat: the same shape, 1 at centres.
        weights: [B].
    """
    at, given = heat == 1.0, weights[:, None, None, None]
    probability = logits.sigmoid()
    hit = F.logsigmoid(logits) * (1 - probability).square()
    miss = F.logsigmoid(-logits) * probability.square() * (1 - heat) ** 4
    return -(torch.where(at, hit, miss) * given).sum() / (at * given).sum().clamp_min(1.0)


def sides_loss(sides: Tensor, boxes: Tensor, heat: Tensor, objects: Objects, weights: Tensor) -> Tensor:
    """Returns the mean generalised IoU loss of the cells near centres, a scalar.

    A cell within the heat of several objects of a picture belongs to the one that warms it most.

    Args:
        sides: raw distances [B, 4, h, w].
        boxes: [n, 4] in cells.
        heat: [n, h, w] of each.
        objects: of the batch.
        weights: [B].
    """
    warmest = _largest(heat, objects.owners, sides.shape[0])
    own = (heat > _WARM) & (heat == warmest[objects.owners])
    number, row, column = torch.nonzero(own, as_tuple=True)
    predicted = side_boxes(sides)[objects.owners[number], row, column]
    each: Tensor = ops.generalized_box_iou_loss(predicted, boxes[number], reduction="none")
    given = weights[objects.owners[number]]
    mean: Tensor = (each * given).sum() / given.sum().clamp_min(1.0)
    return mean + 0.0 * sides.sum()  # a gradient without objects, too


def side_boxes(sides: Tensor) -> Tensor:
    """Returns the box that each cell gives, in cells: [B, h, w, 4].

    Args:
        sides: raw distances [B, 4, h, w] of left, top, right and bottom from a cell's centre.
    """
    rows, columns = sides.shape[2], sides.shape[3]
    y = torch.arange(rows, device=sides.device, dtype=torch.float32) + 0.5
    x = torch.arange(columns, device=sides.device, dtype=torch.float32) + 0.5
    left, top, right, bottom = F.softplus(sides.float()).unbind(dim=1)
    wide, high = REACH * columns, REACH * rows
    corners = (x - wide * left, y[:, None] - high * top, x + wide * right, y[:, None] + high * bottom)
    return torch.stack(corners, dim=-1)


def _largest(maps: Tensor, rows: Tensor, count: int) -> Tensor:
    """Returns the largest of the maps [n, h, w] of each of ``count`` rows, 0 where a row has none."""
    joined = maps.new_zeros(count, *maps.shape[1:])
    largest: Tensor = joined.scatter_reduce(0, rows[:, None, None].expand_as(maps), maps, "amax")
    return largest


def _covered(ends: Tensor, count: int) -> Tensor:
    """Returns how much of each of ``count`` cells in a row lies between two ends [n, 2], [n, count], 0–1."""
    cells = torch.arange(count, device=ends.device, dtype=ends.dtype)
    low, high = ends[:, :1], ends[:, 1:]
    return (torch.minimum(high, cells + 1) - torch.maximum(low, cells)).clamp(0.0, 1.0)
