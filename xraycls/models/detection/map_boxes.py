"""From probability maps to boxes: connected components, peaks of centres, and a tail of less certain ones.

No torch is imported: exported files are read by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xraycls.errors import UsageError
from xraycls.types import Detections

Floats = NDArray[np.float32]

Suppress = Callable[[Floats, Floats], Detections]
"""Non-maximum suppression of the scores [n, classes] and boxes [n, 4] of one picture."""

RSNA_SMALLEST = 10000 / 1024**2
"""Share of a film that a box of the RSNA challenge covers at the least, by the U-Net of its first notebooks."""

_LEVELS = tuple(level / 10 for level in range(1, 10))  # of the tail
_PEAK = 0.05  # heat of the faintest centre
_PEAKS = 50  # centres of a picture and class, at most


@dataclass(frozen=True, slots=True)
class BoxRule:
    """How maps become boxes, and which of them are reported.

    Attributes:
        source: whether boxes come from the components of the mask, or from the peaks of centres.
        threshold: of the mask's probability, 0–1 exclusive: what is above belongs to a component.
        connectivity: 4, or 8 to join cells that touch at a corner.
        smallest: share of the picture that a component's box must exceed, 0–1.
        tail: factor of the scores of further boxes: the components at the thresholds 0.1 to 0.9, and those of the other
            source. They are for average precision and FROC, which rank; 0 for none.
        gate: exponent of the probability that the picture has such an object at all, by which scores are multiplied;
            0 leaves them.
        shrink: factor of both sides of every box, above 0 and at most 1.
        score: from which score on a box is reported, 0–1.
    """

    source: Literal["mask", "centres"] = "mask"
    threshold: float = 0.3
    connectivity: Literal[4, 8] = 4
    smallest: float = RSNA_SMALLEST
    tail: float = 0.2
    gate: float = 0.0
    shrink: float = 1.0
    score: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(
                f"The mask's threshold (--box-threshold, boxes.threshold) is {self.threshold:g}, which every pixel or "
                "none exceeds",
                "Choose one between 0 and 1",
            )
        limits = {"smallest": self.smallest, "tail": self.tail, "score": self.score, "shrink": self.shrink}
        for name, value in limits.items():
            if not 0 <= value <= 1 or (name == "shrink" and value == 0):
                raise UsageError(f"boxes.{name} must lie between 0 and 1, not be {value:g}")
        if not 0 <= self.gate < math.inf:
            raise UsageError(f"boxes.gate must be 0 or more, not {self.gate:g}")


def component_boxes(
    probabilities: Floats, threshold: float, connectivity: int = 8, smallest: float = 0.0
) -> tuple[Floats, Floats]:
    """Returns the boxes [n, 4] around the regions above a threshold, in cells, and the mean of the map in each [n].

    Args:
        probabilities: [h, w], 0–1.
        threshold: a cell belongs to a region when it is above, not just as much.
        connectivity: 4, or 8 to join cells that touch at a corner.
        smallest: cells that a box must have more than.

    Example:
        >>> import numpy as np
        >>> from xraycls.models.detection.map_boxes import component_boxes
        >>> heat = np.zeros((6, 8), np.float32)
        >>> heat[1:3, 2:6] = 0.5
        >>> boxes, scores = component_boxes(heat, 0.3)
        >>> boxes.tolist(), scores.tolist()
        ([[2.0, 1.0, 6.0, 3.0]], [0.5])
    """
    above = (probabilities > threshold).astype(np.uint8)
    count, _, facts, _ = cv2.connectedComponentsWithStats(above, connectivity=connectivity)
    left, top, width, height = facts[1:count, :4].T if count > 1 else np.zeros((4, 0), np.int64)
    kept = width * height > smallest
    corners = np.stack([left, top, left + width, top + height], axis=1)[kept]
    if not len(corners):
        return corners.astype(np.float32), np.zeros(0, np.float32)
    table = cv2.integral(probabilities.astype(np.float64))
    x0, y0, x1, y1 = corners.T
    sums = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    return corners.astype(np.float32), (sums / ((x1 - x0) * (y1 - y0))).clip(0, 1).astype(np.float32)


def centre_boxes(heat: Floats, boxes: Floats) -> tuple[Floats, Floats]:
    """Returns the boxes [n, 4] of the peaks of a heat map, in cells, and their heat [n], falling.

    Args:
        heat: [h, w], 0–1; a peak is no cooler than its eight neighbours.
        boxes: [h, w, 4], the box that each cell gives.
    """
    peaks = (heat == cv2.dilate(heat, np.ones((3, 3), np.uint8))) & (heat > _PEAK)
    cells = np.flatnonzero(peaks)
    scores = heat.reshape(-1)[cells]
    best = np.argsort(-scores, kind="stable")[:_PEAKS]
    return boxes.reshape(-1, 4)[cells[best]], scores[best]


def boxes_of_maps(
    mask: Floats,
    pictures: Floats,
    heat: Floats | None,
    sides: Floats | None,
    *,
    rule: BoxRule,
    size: tuple[int, int],
    suppress: Suppress,
) -> list[Detections]:
    """Returns the detections of every picture of a batch, in pixels of the input.

    Args:
        mask: probabilities [B, classes, h, w].
        pictures: probabilities [B, classes] that a picture has an object.
        heat: probabilities of centres [B, classes, h, w]; None without centres.
        sides: the box that each cell gives, in cells [B, h, w, 4]; None without centres.
        rule: how boxes are made.
        size: width and height of the input, pixels.
        suppress: says which of them stay.
    """
    rows, columns = mask.shape[2], mask.shape[3]
    scale = np.array([size[0] / columns, size[1] / rows] * 2, np.float32)
    found = []
    for number in range(mask.shape[0]):
        parts = []
        for label in range(mask.shape[1]):
            peaks = None if heat is None or sides is None else centre_boxes(heat[number, label], sides[number])
            boxes, scores = _candidates(mask[number, label], peaks, rule)
            scores = scores * float(pictures[number, label]) ** rule.gate
            parts.append((shrunk(boxes * scale, rule.shrink), scores))
        boxes, scores = np.concatenate([own for own, _ in parts]), _by_class([own for _, own in parts])
        found.append(suppress(scores, boxes))
    return found


def shrunk(boxes: Floats, factor: float) -> Floats:
    """Returns boxes [n, 4] with both sides multiplied by a factor around their centres."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.float32(factor)
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


def _candidates(mask: Floats, peaks: tuple[Floats, Floats] | None, rule: BoxRule) -> tuple[Floats, Floats]:
    """The boxes of one picture and class in cells, and their scores: those of the source, and the tail."""
    least = rule.smallest * mask.size
    own = component_boxes(mask, rule.threshold, rule.connectivity, least)
    if rule.source == "centres" and peaks is not None:
        own, peaks = peaks, own
    parts = [own]
    if rule.tail:
        further = [component_boxes(mask, level, rule.connectivity, least) for level in _LEVELS]
        further += [] if peaks is None else [peaks]
        parts += [(boxes, scores * np.float32(rule.tail)) for boxes, scores in further]
    return np.concatenate([boxes for boxes, _ in parts]), np.concatenate([scores for _, scores in parts])


def _by_class(parts: list[Floats]) -> Floats:
    """Scores [n, classes] of boxes of which each has one class, by class."""
    scores = np.zeros((sum(map(len, parts)), len(parts)), np.float32)
    first = 0
    for label, own in enumerate(parts):
        scores[first : first + len(own), label] = own
        first += len(own)
    return scores
