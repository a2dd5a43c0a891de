"""Which detections touch which ground truth: intersection over union, or a centre within a box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xraycls.evaluation.cases import BoolArray, FloatArray, IntArray
from xraycls.evaluation.detection.cases import Cases

Overlap = Callable[[FloatArray, FloatArray], FloatArray]
"""From detections [..., m, 4] and ground truth [..., n, 4] to a figure 0–1 for each pair, [..., m, n]."""

_LARGE = 256  # pairs of an image that are worth a matrix of their own
_TOGETHER = 2**15  # pairs of smaller images that are looked at together: their corners stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Detections and ground truth of the same image and class that overlap, sorted by who may choose first.

    By rank of the detection, then by falling overlap, then by order in the ground truth.

    Attributes:
        detection: int64 [p], index of the detection, which is its rank.
        truth: int64 [p], index of the ground truth.
        overlap: float64 [p], 0–1.
    """

    detection: IntArray
    truth: IntArray
    overlap: FloatArray

    def only(self, kept: BoolArray) -> Pairs:
        """Those where ``kept``, bool [p], is true."""
        return Pairs(self.detection[kept], self.truth[kept], self.overlap[kept])


def box_iou(detections: FloatArray, truth: FloatArray, *, extent: float = 0.0) -> FloatArray:
    """Intersection over union; 0 where both boxes are empty.

    Args:
        detections: float64 [..., m, 4], left, top, right, bottom.
        truth: float64 [..., n, 4].
        extent: how much wider and higher a box is than the difference of its corners: 0, or 1 where right and bottom
            name the last pixel within it (VOC's convention).

    Returns:
        float64 [..., m, n], 0–1.
    """
    shared = _shared_sides(detections, truth, 0, extent) * _shared_sides(detections, truth, 1, extent)
    union = _areas(detections, extent)[..., :, None] + _areas(truth, extent)[..., None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def pixel_iou(detections: FloatArray, truth: FloatArray) -> FloatArray:
    """:func:`box_iou` of boxes whose right and bottom pixels lie within them."""
    return box_iou(detections, truth, extent=1.0)


def centre_in_box(detections: FloatArray, truth: FloatArray) -> FloatArray:
    """1 where the centre of a detection lies in the ground truth, its edge included, else 0; float64 [..., m, n]."""
    centre = (detections[..., :, None, :2] + detections[..., :, None, 2:]) / 2
    inside = (truth[..., None, :, :2] <= centre) & (centre <= truth[..., None, :, 2:])
    return np.asarray(inside.all(axis=-1), dtype=np.float64)


def overlaps(cases: Cases, floor: float, overlap: Overlap = box_iou) -> Pairs:
    """Every pair of the same image and class that overlaps by at least ``floor``.

    Args:
        cases: the images.
        floor: above 0, at most 1.
        overlap: how much two boxes do.
    """
    by_image = np.argsort(cases.detection_image, kind="stable")
    images = np.arange(cases.n_images + 1)
    detection_from = np.searchsorted(cases.detection_image[by_image], images)
    truth_from = np.searchsorted(cases.truth_image, images)
    across = np.diff(truth_from)
    number = np.diff(detection_from) * across

    def of_one(image: int) -> Pairs:
        detection = by_image[detection_from[image] : detection_from[image + 1]]
        truth = np.arange(truth_from[image], truth_from[image + 1])
        figures = overlap(cases.detections.boxes[detection], cases.truth.boxes[truth])
        alike = cases.detections.classes[detection, None] == cases.truth.classes[truth]
        m, n = np.nonzero((figures >= floor) & alike)
        return Pairs(detection[m], truth[n], figures[m, n])

    def of_several(some: IntArray) -> Pairs:
        times = number[some]
        pair = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)  # from 0 in each image
        row, column = np.divmod(pair, np.repeat(across[some], times))
        detection = by_image[np.repeat(detection_from[some], times) + row]
        truth = np.repeat(truth_from[some], times) + column
        alike = cases.detections.classes[detection] == cases.truth.classes[truth]
        detection, truth = detection[alike], truth[alike]
        figures = overlap(cases.detections.boxes[detection, None], cases.truth.boxes[truth, None])[:, 0, 0]
        return Pairs(detection, truth, figures).only(figures >= floor)

    small = np.flatnonzero((number > 0) & (number < _LARGE))
    groups = np.split(small, np.flatnonzero(np.diff(np.cumsum(number[small]) // _TOGETHER)) + 1)
    parts = [*map(of_one, np.flatnonzero(number >= _LARGE).tolist()), *map(of_several, groups)]
    pairs = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__slots__))
    return _sorted(pairs)


def _shared_sides(detections: FloatArray, truth: FloatArray, axis: int, extent: float) -> FloatArray:
    """How much two boxes overlap along x (0) or y (1); [..., m, n]."""
    low = np.maximum(detections[..., :, None, axis], truth[..., None, :, axis])
    high = np.minimum(detections[..., :, None, axis + 2], truth[..., None, :, axis + 2])
    return np.maximum(high - low + extent, 0)


def _areas(boxes: FloatArray, extent: float) -> FloatArray:
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2] + extent, 0)
    return sides[..., 0] * sides[..., 1]


def _sorted(pairs: Pairs) -> Pairs:
    order = np.lexsort((pairs.truth, -pairs.overlap, pairs.detection))
    return Pairs(pairs.detection[order], pairs.truth[order], pairs.overlap[order])
