"""What engines ask of a recipe, and what recipes share that draw one picture a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xraycls.loaders.recipes.geometry import has_area
from xraycls.loaders.views import Canvas, Floats, Views


class ViewRecipe(Protocol):
    """What engines ask of a recipe: it alone draws random numbers."""

    @property
    def canvas(self) -> Canvas:
        """What pictures are drawn on."""

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The one view of every image; ``sizes`` [n, 2] are widths and heights in pixels."""

    def training_views(
        self, seed: int, epoch: int, first: int, sizes: npt.ArrayLike, boxes: Sequence[Floats] = ()
    ) -> Views:
        """The views of the images at positions ``first``, ``first + 1``, … of an epoch; ``boxes`` [m, 4] of each."""

    def clip(self, boxes: Floats, training: bool) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Boxes [n, 4] of the canvas as a view shows them, cut to it, and which of them remain, bool [n]."""


class _HasCanvas(Protocol):
    @property
    def canvas(self) -> Canvas: ...


class SinglePicture:
    """Mixed into recipes whose samples are one picture each, on one canvas."""

    __slots__ = ()

    def clip(self: _HasCanvas, boxes: Floats, training: bool) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Boxes cut to the canvas, and which of them have an area left.

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the view is one of training.
        """
        cut = np.clip(boxes, 0, np.tile([self.canvas.width, self.canvas.height], 2))
        return cut, has_area(cut)
