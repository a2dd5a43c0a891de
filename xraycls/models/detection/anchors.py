"""Default boxes of SSD: where and in which shapes a network looks for objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pair = float | tuple[float, float]
"""One number for both axes, or (vertical, horizontal)."""


@dataclass(frozen=True, slots=True)
class SSDAnchors:
    """The default boxes of an SSD, as TAO's SSD defines them (Liu et al. 2016, section 2.2).

    Attributes:
        scales: side of a square box as a share of the image's shorter side, one a feature map and one more.
        aspect_ratios: width through height of the boxes of every map, in their order.
        two_boxes_for_ar1: whether a second square follows the first, between this map's scale and the next.
        clip: whether boxes end at the image; see :meth:`boxes`.
        steps: pixels between two cells of each map; None for image through map.
        offsets: of the first cell's centre, in steps, of each map; None for 0.5.
        variances: that offsets of centre x, centre y, width and height are divided by.
    """

    scales: tuple[float, ...] = (0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
    aspect_ratios: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 0.5, 3.0, 1.0 / 3.0),) * 6
    two_boxes_for_ar1: bool = True
    clip: bool = False
    steps: tuple[Pair, ...] | None = None
    offsets: tuple[Pair, ...] | None = None
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def boxes_a_cell(self) -> tuple[int, ...]:
        """Boxes in every cell of each map."""
        return tuple(len(ratios) + (self.two_boxes_for_ar1 and 1.0 in ratios) for ratios in self.aspect_ratios)

    def boxes(self, image: tuple[int, int], maps: Sequence[tuple[int, int]]) -> npt.NDArray[np.float64]:
        """All default boxes, by map, row, column and shape.

        With ``clip``, a coordinate of the image's size or more becomes size - 1 and one below 0 becomes 0; what lies
        between size - 1 and size stays, as upstream.

        Args:
            image: height and width, pixels.
            maps: height and width of each feature map, cells.

        Returns:
            float64 [n, 4]: left, top, right, bottom as shares of the image's width and height.
        """
        return np.concatenate([self._of_map(image, cells, k) for k, cells in enumerate(maps)])

    def _of_map(self, image: tuple[int, int], cells: tuple[int, int], k: int) -> npt.NDArray[np.float64]:
        height, width = image
        steps = _pair(self.steps[k]) if self.steps else (height / cells[0], width / cells[1])
        offsets = _pair(self.offsets[k]) if self.offsets else (0.5, 0.5)
        y, x = (
            np.linspace(offset * step, (offset + n - 1) * step, n)
            for offset, step, n in zip(offsets, steps, cells, strict=True)
        )
        centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]
        half = self._shapes(min(image), k) / 2
        boxes = np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)
        size = np.array([width, height, width, height], np.float64)
        if self.clip:
            boxes = np.where(boxes >= size, size - 1, np.where(boxes < 0, 0, boxes))
        return np.asarray(boxes / size)

    def _shapes(self, side: int, k: int) -> npt.NDArray[np.float64]:
        """Width and height of the boxes of a cell, pixels, [boxes, 2]."""
        shapes = []
        for ratio in self.aspect_ratios[k]:
            scale = self.scales[k] * side
            shapes.append((scale * np.sqrt(ratio), scale / np.sqrt(ratio)))
            if ratio == 1 and self.two_boxes_for_ar1:
                between = np.sqrt(self.scales[k] * self.scales[k + 1]) * side
                shapes.append((between, between))
        return np.array(shapes)


def _pair(value: Pair) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, value)
