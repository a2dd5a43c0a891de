"""What engines ask of a recipe, and what recipes share that draw one picture a sample.

A recipe turns (seed, epoch, position in the epoch) and the sizes of pictures into plain numbers. An engine asks it,
for every batch of an epoch,

1. ``for_batch``: which recipe draws this batch, because the canvas may change from batch to batch;
2. ``sources``: which pictures make up each sample, because a mosaic takes several;
3. ``training_views`` or ``evaluation_views``, once the pictures are open: where every pixel of the canvas lies in which
   picture, what rectangle of the canvas each picture fills, and how its grey levels change;
4. ``clip``: which boxes remain of those that the views show.

Every engine then gives the same picture, and a resumed run sees exactly what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from xraycls.loaders.recipes.geometry import has_area
from xraycls.loaders.views import Canvas, Floats, Views

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class ViewRecipe(Protocol):
    """What engines ask of a recipe: it alone draws random numbers."""

    @property
    def canvas(self) -> Canvas:
        """What pictures are drawn on."""

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""

    @property
    def pictures(self) -> int:
        """The most pictures that one training sample is made of."""

    @property
    def varies(self) -> bool:
        """Whether canvases, or what pictures fill of them, differ from batch to batch or picture to picture."""

    @property
    def inscribed(self) -> bool:
        """Whether a turned box is the one around the ellipse in it, instead of the one around its corners."""

    def for_batch(self, seed: int, epoch: int, number: int) -> ViewRecipe:
        """The recipe of one training batch, by its number in the epoch; the same for all processes."""

    def sources(self, seed: int, epoch: int, first: int, own: Indices, pool: Indices) -> Indices:
        """The pictures that training samples are made of, int64 [n, k], -1 where a sample has fewer than k.

        Args:
            seed: of the run.
            epoch: counted from 0.
            first: position of the first sample in the epoch; the others follow.
            own: int64 [n], each sample's own picture, which comes first.
            pool: int64 [m], where others are taken from: the epoch's order.
        """

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The one view of every image; ``sizes`` [n, 2] are widths and heights in pixels."""

    def training_views(
        self,
        seed: int,
        epoch: int,
        first: int,
        sizes: npt.ArrayLike,
        boxes: Sequence[Floats] = (),
        owners: Indices | None = None,
    ) -> Views:
        """The views of the pictures at positions ``first``, ``first + 1``, … of an epoch.

        Args:
            seed: of the run.
            epoch: counted from 0.
            first: position of the first sample.
            sizes: [p, 2], width and height of every picture.
            boxes: [m, 4] of every picture, in pixels of it.
            owners: int64 [p], rising: the sample that each picture is a part of, counted from ``first``; None where
                each sample is one picture.
        """

    def clip(self, boxes: Floats, training: bool, cropped: Flags | None = None) -> tuple[Floats, Flags]:
        """Boxes of the canvas as views show them, cut to it, and which of them remain, bool [n].

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the views are those of training.
            cropped: bool [n], whether the view of each box is a random crop; None where none is.
        """


class _HasCanvas(Protocol):
    @property
    def canvas(self) -> Canvas: ...


class SinglePicture:
    """Mixed into recipes whose samples are one picture each, on one canvas."""

    __slots__ = ()

    @property
    def pictures(self) -> int:
        """One a sample."""
        return 1

    @property
    def varies(self) -> bool:
        """All pictures fill the same canvas."""
        return False

    @property
    def inscribed(self) -> bool:
        """Boxes follow their corners."""
        return False

    def for_batch(self, seed: int, epoch: int, number: int) -> Self:
        """The recipe itself."""
        return self

    def sources(self, seed: int, epoch: int, first: int, own: Indices, pool: Indices) -> Indices:
        """Each sample's own picture, int64 [n, 1]."""
        return own[:, None]

    def clip(self: _HasCanvas, boxes: Floats, training: bool, cropped: Flags | None = None) -> tuple[Floats, Flags]:
        """Boxes cut to the canvas, and which of them have an area left.

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the views are those of training; the rule is the same.
            cropped: not looked at.
        """
        cut = np.clip(boxes, 0, np.tile([self.canvas.width, self.canvas.height], 2))
        return cut, has_area(cut)
