"""Augmentation of SSD, as TAO's specs describe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xraycls.loaders.random import generator
from xraycls.loaders.recipes.geometry import has_area, region_views
from xraycls.loaders.recipes.protocol import Flags, Indices, SinglePicture
from xraycls.loaders.views import Canvas, Floats, Views

_THRESHOLDS = (None, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # IoU that a crop must have with the boxes; None: the whole picture
_TRIES = 50
_DRAWS = 8 + 4 * _TRIES  # numbers a view: whole blocks of Philox


@dataclass(frozen=True, slots=True)
class SSDRecipe(SinglePicture):
    """Expansion, random crop and flip (Liu et al. 2016, section 2.2), with the ranges of TAO's SSD.

    Hue and saturation, which a spec may name, change nothing on grey pictures.

    Attributes:
        canvas: of the network, filled with its mean.
        crop_scale: range of a crop's width and height as shares of the (expanded) picture.
        crop_aspect: range of its width over height, as shares.
        zoom_out: range of the expansion, which half of the pictures undergo.
        flip: probability of a horizontal flip.
        brightness: grey levels of 256 that a factor of 1 may gain or lose.
        contrast: largest change of a factor about the middle grey.
        rounded: whether boxes are rounded to whole pixels, as upstream does when it reads label files.
    """

    canvas: Canvas
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_aspect: tuple[float, float] = (0.5, 2.0)
    zoom_out: tuple[float, float] = (1.0, 4.0)
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    rounded: bool = False

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""
        return any((self.brightness, self.contrast))

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
        """The views of the images at positions ``first``, ``first + 1``, … of an epoch.

        Args:
            seed: of the run.
            epoch: counted from 0.
            first: position of the first image in the epoch.
            sizes: [n, 2], width and height of every image in pixels.
            boxes: of every image, [m, 4] in pixels of it.
            owners: not looked at; each sample is one picture.
        """
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        drawn = generator(seed, epoch, first, _DRAWS).random((len(sizes), _DRAWS))
        expands = drawn[:, 0] < 0.5
        low, high = self.zoom_out
        ratio = np.where(expands, low + (high - low) * drawn[:, 1], 1.0)
        canvases = sizes * ratio[:, None]
        offset = drawn[:, 2:4] * (canvases - sizes)  # of the picture on the expanded one
        corners, crops, cropped = -offset, canvases.copy(), np.zeros(len(sizes), np.bool_)
        for row, own in enumerate(boxes or [np.zeros((0, 4))] * len(sizes)):
            shares = (own + np.tile(offset[row], 2)) / np.tile(canvases[row], 2)
            crop = self._crop(drawn[row, 4], drawn[row, 8:].reshape(4, _TRIES), shares)
            if crop is not None:
                corners[row], crops[row] = crop[:2] * canvases[row] - offset[row], (crop[2:] - crop[:2]) * canvases[row]
                cropped[row] = True
        brightness = 1.0 + self.brightness / 256.0 * (2.0 * drawn[:, 5] - 1.0)
        contrast = 1.0 + self.contrast * (2.0 * drawn[:, 6] - 1.0)
        # First the factor of brightness, then contrast about the middle grey, as one line.
        factor = brightness * contrast
        flipped = drawn[:, 7] < self.flip
        views = region_views(corners, crops, self.canvas, flipped, 0.5 * (factor - contrast), factor)
        return replace(views, cropped=cropped)

    def clip(self, boxes: Floats, training: bool, cropped: Flags | None = None) -> tuple[Floats, Flags]:
        """Boxes cut to the canvas, and which of them count: of a random crop those whose centre it holds.

        A box that reaches beyond the edge of its whole picture is cut and kept, as upstream does, wherever its centre
        lies.

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the views are those of training; the rule is the same.
            cropped: bool [n], whether the view of each box is a random crop; None where none is.
        """
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        limits = np.array([self.canvas.width, self.canvas.height], np.float64)
        inside = ((centres >= 0) & (centres < limits)).all(axis=1)
        cut = (
            np.clip(np.round(boxes), 0, np.tile(limits - 1, 2))
            if self.rounded
            else np.clip(boxes, 0, np.tile(limits, 2))
        )
        return cut, has_area(cut) & (True if cropped is None else inside | ~cropped)

    def _crop(self, option: float, tries: Floats, boxes: Floats) -> Floats | None:
        """Left, top, right and bottom of a crop, shares of the picture: the first of the tries that fits, if any."""
        threshold = _THRESHOLDS[int(option * len(_THRESHOLDS))]
        if threshold is None:
            return None
        low, high = self.crop_scale
        size = (low + (high - low) * tries[:2]).T
        corner = tries[2:].T * (1.0 - size)
        crops = np.concatenate([corner, corner + size], axis=1)
        aspect = size[:, 0] / size[:, 1]
        fits = (aspect >= self.crop_aspect[0]) & (aspect <= self.crop_aspect[1])
        if len(boxes):
            fits &= (_iou(crops, boxes) >= threshold).all(axis=1)
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            held = (centres >= crops[:, None, :2]) & (centres < crops[:, None, 2:])
            fits &= np.any(np.all(held, axis=2), axis=1)
        return np.asarray(crops[fits.argmax()]) if fits.any() else None


def _iou(crops: Floats, boxes: Floats) -> Floats:
    """Intersection over union of every crop with every box, [crops, boxes]."""
    overlap = np.minimum(crops[:, None, 2:], boxes[:, 2:]) - np.maximum(crops[:, None, :2], boxes[:, :2])
    shared = np.clip(overlap, 0, None).prod(axis=2)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (crops, boxes)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-12))
