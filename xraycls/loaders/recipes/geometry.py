"""Geometry that several recipes share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xraycls.loaders.views import Canvas, Floats, Views

_SMALLEST = 1e-3  # pixels; a box that is no wider or higher is dropped


def region_views(
    corners: Floats,
    crops: Floats,
    canvas: Canvas,
    flipped: npt.NDArray[np.bool_],
    brightness: Floats | None = None,
    contrast: Floats | None = None,
) -> Views:
    """Views of regions of the source: their top-left corners and sizes in its pixels, [n, 2] each."""
    count = len(corners)
    scales = crops / np.array([canvas.width, canvas.height])
    matrices = np.zeros((count, 2, 3))
    matrices[:, 0, 0] = np.where(flipped, -scales[:, 0], scales[:, 0])
    matrices[:, 1, 1] = scales[:, 1]
    matrices[:, 0, 2] = np.where(flipped, corners[:, 0] + crops[:, 0], corners[:, 0])
    matrices[:, 1, 2] = corners[:, 1]
    none = np.zeros(count)
    return Views(
        matrices, none if brightness is None else brightness, none + 1.0 if contrast is None else contrast, none + 1.0
    )


def upside_down(views: Views, canvas: Canvas, flipped: npt.NDArray[np.bool_]) -> Views:
    """Views [n] of which those of ``flipped`` [n] are mirrored top to bottom, in place."""
    views.matrices[flipped, 1, 2] += views.matrices[flipped, 1, 1] * canvas.height
    views.matrices[flipped, 1, 1] *= -1.0
    return views


def has_area(boxes: Floats) -> npt.NDArray[np.bool_]:
    """Which boxes [n, 4] are wider and higher than 0.001 pixels, bool [n]."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2] > _SMALLEST).all(axis=1))
