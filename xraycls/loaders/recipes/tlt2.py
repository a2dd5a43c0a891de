"""Augmentation of TLT 2's SSD, as the DetectNet message of its specs describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.loaders.random import generator
from xraycls.loaders.recipes.geometry import has_area, region_views, upside_down
from xraycls.loaders.recipes.protocol import Flags, Indices, SinglePicture
from xraycls.loaders.views import Canvas, Floats, Views

_DRAWS = 8  # numbers a view: whole blocks of Philox


@dataclass(frozen=True, slots=True)
class TLT2Recipe(SinglePicture):
    """Flip, zoom and shift, with the ranges of the DetectNet message that TLT 2 specs have.

    Hue and saturation change nothing on grey pictures. A zoom is about the middle of the picture.

    Attributes:
        canvas: of the network.
        horizontal_flip: probability.
        vertical_flip: probability.
        zoom: range of the magnification.
        shift: largest shift across and down, pixels of the canvas.
        contrast: largest change of a factor about ``contrast_center``.
        contrast_center: grey level of 0–1 that keeps its value.
        color_shift: standard deviation of what is added to grey levels of 0–1.
        smallest: width and height below which boxes are dropped, pixels of the canvas.
    """

    canvas: Canvas
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    contrast: float = 0.0
    contrast_center: float = 0.5
    color_shift: float = 0.0
    smallest: tuple[float, float] = (0.0, 0.0)

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""
        return any((self.contrast, self.color_shift))

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The whole pictures, squeezed onto the canvas."""
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        return region_views(np.zeros_like(sizes), sizes, self.canvas, np.zeros(len(sizes), np.bool_))

    def training_views(
        self,
        seed: int,
        epoch: int,
        first: int,
        sizes: npt.ArrayLike,
        boxes: Sequence[Floats] = (),
        owners: Indices | None = None,
    ) -> Views:
        """The views of the images at positions ``first``, ``first + 1``, … of an epoch; boxes don't matter."""
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        drawn = generator(seed, epoch, first, _DRAWS).random((len(sizes), _DRAWS))
        low, high = self.zoom
        crops = sizes / (low + (high - low) * drawn[:, 2:3])
        pixels = np.array([self.canvas.width, self.canvas.height])
        shifts = np.array(self.shift) * (2.0 * drawn[:, 3:5] - 1.0) * crops / pixels
        factor = 1.0 + self.contrast * (2.0 * drawn[:, 5] - 1.0)
        normal = np.sqrt(-2.0 * np.log1p(-drawn[:, 6])) * np.cos(2.0 * np.pi * drawn[:, 7])  # Box and Muller 1958
        brightness = (1.0 - factor) * (self.contrast_center - 0.5) + self.color_shift * normal
        views = region_views(
            (sizes - crops) / 2.0 - shifts, crops, self.canvas, drawn[:, 0] < self.horizontal_flip, brightness, factor
        )
        return upside_down(views, self.canvas, drawn[:, 1] < self.vertical_flip)

    def clip(self, boxes: Floats, training: bool, cropped: Flags | None = None) -> tuple[Floats, Flags]:
        """Boxes cut to the canvas, and which of them count: those that are large enough.

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the views are those of training; only then does the least size matter.
            cropped: not looked at.
        """
        cut = np.clip(boxes, 0, np.tile([self.canvas.width, self.canvas.height], 2))
        large = (cut[:, 2:] - cut[:, :2] >= self.smallest).all(axis=1)
        return cut, has_area(cut) & (large | (not training))
