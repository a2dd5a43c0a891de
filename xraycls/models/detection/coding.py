"""Boxes as a network predicts them: offsets from its anchors."""

from __future__ import annotations

import torch
from torch import Tensor


def encode(boxes: Tensor, anchors: Tensor, variances: Tensor) -> Tensor:
    """Offsets of boxes from anchors (Liu et al. 2016, equation 2, divided by the variances).

    Args:
        boxes: [..., 4], left, top, right, bottom, of positive width and height.
        anchors: [..., 4], likewise.
        variances: [4], of centre x, centre y, width, height.

    Returns:
        [..., 4]: ((cx - cx_a) / w_a, (cy - cy_a) / h_a, ln(w / w_a), ln(h / h_a)) / variances.
    """
    centre, size = _centre_and_size(boxes)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    return torch.cat([(centre - anchor_centre) / anchor_size, torch.log(size / anchor_size)], dim=-1) / variances


def decode(offsets: Tensor, anchors: Tensor, variances: Tensor) -> Tensor:
    """The inverse of :func:`encode`: boxes [..., 4] as left, top, right, bottom."""
    shift, growth = (offsets * variances).tensor_split(2, dim=-1)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    centre, half = anchor_centre + shift * anchor_size, anchor_size * torch.exp(growth) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes.tensor_split(2, dim=-1)
    return (low + high) / 2, high - low
