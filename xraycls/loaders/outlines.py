"""Outlines on their way to the model: what an object covers of the pixels of what is seen of its picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.loaders.views import Canvas, Floats

Rings = Sequence[Floats]
"""Closed polygons [k, 2] of one object; one within another is a hole."""

_FINE = 4  # steps a pixel, in which outlines are drawn


def rings_on_canvas(rings: Rings, matrix: Floats) -> list[Floats]:
    """Returns polygons of the source where a view shows them.

    Args:
        rings: in pixels of the source.
        matrix: [2, 3], of the view: from pixels of the canvas to those of the source.
    """
    return [np.asarray(np.linalg.solve(matrix[:, :2], (ring - matrix[:, 2]).T).T, np.float64) for ring in rings]


def box_ring(box: Floats) -> Floats:
    """Returns a box [4] as a polygon."""
    return box[[[0, 1], [2, 1], [2, 3], [0, 3]]]


def drawn(objects: Sequence[Rings], canvas: Canvas) -> npt.NDArray[np.uint8]:
    """Returns how much of every pixel each object covers, uint8 [n, H, W], 0–255.

    Args:
        objects: in pixels of the canvas; what lies beyond it is cut off.
        canvas: says how large the result is.

    Example:
        >>> import numpy as np
        >>> from xraycls.loaders.outlines import box_ring, drawn
        >>> from xraycls.loaders.views import Canvas
        >>> drawn([[box_ring(np.array([1.0, 0.0, 3.5, 1.0]))]], Canvas(height=2, width=5)).tolist()
        [[[0, 255, 255, 128, 0], [0, 0, 0, 0, 0]]]
    """
    masks = np.zeros((len(objects), canvas.height, canvas.width), np.uint8)
    limits = np.array([canvas.width, canvas.height])
    for mask, rings in zip(masks, objects, strict=True):
        points = np.concatenate(rings)
        left, top = np.clip(np.floor(points.min(axis=0)), 0, limits).astype(int).tolist()
        right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, limits).astype(int).tolist()
        if left < right and top < bottom:
            size = (right - left, bottom - top)
            fine = _filled([(ring - (left, top)) * _FINE for ring in rings], _FINE * size[1], _FINE * size[0])
            mask[top:bottom, left:right] = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
    return masks


def _filled(rings: Rings, height: int, width: int) -> npt.NDArray[np.uint8]:
    """255 where the middle of a pixel lies within an odd number of polygons, else 0: uint8 [height, width].

    A row enters or leaves a polygon wherever an edge crosses its middle.
    """
    crossings = np.zeros((height, width + 1), np.uint8)
    middles = np.arange(height) + 0.5
    for ring in rings:
        (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
        edge, row = np.nonzero((y0[:, None] <= middles) != (y1[:, None] <= middles))
        x = x0[edge] + (middles[row] - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
        np.add.at(crossings, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(int)), 1)
    return np.where(np.cumsum(crossings[:, :-1], axis=1, dtype=np.uint8) % 2, 255, 0).astype(np.uint8)
