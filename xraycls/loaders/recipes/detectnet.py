"""Augmentation of Faster R-CNN, as the DetectNet messages of its specs describe it.

The source is cropped and brought onto the canvas, then flipped, turned about the middle, zoomed, and shifted, in this
order. The distributions are upstream's: zoom uniform, at a place drawn uniformly; shifts of whole pixels; contrast and
grey shift truncated at two standard deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from xraycls.loaders.random import generator
from xraycls.loaders.recipes.geometry import has_area
from xraycls.loaders.recipes.protocol import Flags, Indices, SinglePicture
from xraycls.loaders.views import Canvas, Floats, Rectangle, Views

_DRAWS = 12  # numbers a view: whole blocks of Philox
_CUT = 2.0  # standard deviations at which normal numbers are cut off
_TAIL = NormalDist().cdf(-_CUT)


@dataclass(frozen=True, slots=True)
class Placement:
    """How pictures come onto the canvas, in training and in evaluation alike.

    Attributes:
        crop: left, top, right and bottom of what is used of every source, in its pixels; None for all of it.
        resize: whether sources (or their crops) of any size are stretched to the canvas (``enable_auto_resize``).
            Without it they are drawn into its top-left corner at the size that they have: what is larger is cut.
        scale: factors of width and height that come on top.
        sides: instead of all this, of an input of no fixed size (``size_min``): pixels that the shorter side becomes,
            and that the longer has at most. The aspect is kept, and the picture lies in the top-left corner.
    """

    crop: Rectangle | None = None
    resize: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    sides: tuple[int, int] | None = None

    @property
    def cuts(self) -> bool:
        """Whether pictures that are too large lose what lies at their right and bottom."""
        return not self.resize and self.sides is None

    def regions(self, sizes: Floats) -> tuple[Floats, Floats]:
        """Returns the top-left corner [2] and the sizes [n, 2] of what is used of sources of some sizes [n, 2]."""
        if self.crop is None:
            return np.zeros(2), sizes
        left, top, right, bottom = self.crop
        return np.array([left, top], np.float64), np.tile([right - left, bottom - top], (len(sizes), 1))

    def factors(self, regions: Floats, canvas: Canvas) -> Floats:
        """Returns the pixels of the source to one of the canvas, across and down, [n, 2]."""
        if self.sides is not None:
            shorter, longest = self.sides
            ratio = np.maximum(regions.min(axis=1) / shorter, regions.max(axis=1) / longest)
            return np.repeat(ratio[:, None], 2, axis=1)
        own = regions / np.array([canvas.width, canvas.height]) if self.resize else np.ones_like(regions)
        return np.asarray(own / np.array(self.scale))

    def resized(self, across: float, down: float) -> Placement:
        """Returns the same for a canvas that is so many times as wide and as high."""
        if self.sides is not None:
            shorter, longest = (round(side * min(across, down)) for side in self.sides)
            return replace(self, sides=(shorter, longest))
        return self if self.resize else replace(self, scale=(self.scale[0] * across, self.scale[1] * down))


@dataclass(frozen=True, slots=True)
class DetectNetRecipe(SinglePicture):
    """Crop, flip, rotation, zoom, shift, contrast and grey shift of the DetectNet message.

    Hue and saturation change nothing on grey pictures.

    Attributes:
        canvas: of the network.
        placement: how pictures come onto it.
        horizontal_flip: probability.
        vertical_flip: probability; upstream reads the field and never flips.
        rotation: largest angle, radians either way.
        rotation_probability: share of the pictures that are turned.
        zoom: range of the factor by which pictures become smaller: above 1 the canvas shows more than the picture.
        shift: largest shift across and down, whole pixels of the canvas.
        contrast: largest change of a factor about ``contrast_center``.
        contrast_center: grey level of 0–1 that keeps its value.
        color_shift: standard deviation of what is added to grey levels of 0–1.
        smallest: width and height below which boxes are dropped in training, pixels of the canvas.
    """

    canvas: Canvas
    placement: Placement = Placement()
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    rotation: float = 0.0
    rotation_probability: float = 1.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: tuple[int, int] = (0, 0)
    contrast: float = 0.0
    contrast_center: float = 0.5
    color_shift: float = 0.0
    smallest: tuple[float, float] = (0.0, 0.0)

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""
        return any((self.contrast, self.color_shift))

    def resized(self, width: int, height: int) -> DetectNetRecipe:
        """Returns the same recipe for another canvas, pixels, which shows as much of every picture."""
        placement = self.placement.resized(width / self.canvas.width, height / self.canvas.height)
        return replace(self, canvas=replace(self.canvas, width=width, height=height), placement=placement)

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The pictures as they come onto the canvas."""
        base = self._onto_canvas(np.asarray(sizes, np.float64).reshape(-1, 2))
        none = np.zeros(len(base))
        return Views(base[:, :2], none, none + 1.0, none + 1.0)

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
            boxes: not looked at.
            owners: not looked at; each sample is one picture.
        """
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        drawn = generator(seed, epoch, first, _DRAWS).random((len(sizes), _DRAWS))
        turned = drawn[:, 2] < self.rotation_probability
        angles = np.where(turned, self.rotation * (2.0 * drawn[:, 3] - 1.0), 0.0)
        low, high = self.zoom
        shifts = np.floor(drawn[:, 7:9] * (2 * np.array(self.shift) + 1)) - self.shift
        # From the canvas back to the source: the last step first.
        matrices = (
            self._onto_canvas(sizes)
            @ self._flips(drawn[:, :2] < (self.horizontal_flip, self.vertical_flip))
            @ self._turns(-angles)
            @ self._zooms(low + (high - low) * drawn[:, 4], drawn[:, 5:7])
            @ _affine(np.broadcast_to(np.eye(2), (len(sizes), 2, 2)), -shifts)
        )
        factor = 1.0 + self.contrast / _CUT * _truncated_normal(drawn[:, 9])
        brightness = (1.0 - factor) * (self.contrast_center - 0.5) + self.color_shift * _truncated_normal(drawn[:, 10])
        return Views(matrices[:, :2], brightness, factor, np.ones(len(sizes)))

    def clip(self, boxes: Floats, training: bool, cropped: Flags | None = None) -> tuple[Floats, Flags]:
        """Boxes rounded to whole pixels and cut to the canvas's last ones, and which of them count.

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the views are those of training; only then does the least size matter.
            cropped: not looked at.
        """
        limits = np.array([self.canvas.width - 1, self.canvas.height - 1], np.float64)
        large = (boxes[:, 2:] - boxes[:, :2] >= self.smallest).all(axis=1)
        cut = np.clip(np.round(boxes), 0, np.tile(limits, 2))
        return cut, has_area(cut) & (large | (not training))

    def _onto_canvas(self, sizes: Floats) -> Floats:
        """From points of the canvas to points of the source, float64 [n, 3, 3], without augmentation."""
        corner, regions = self.placement.regions(sizes)
        factors = self.placement.factors(regions, self.canvas)
        return _affine(factors[:, None] * np.eye(2), np.broadcast_to(corner, (len(sizes), 2)))

    def _flips(self, flipped: npt.NDArray[np.bool_]) -> Floats:
        """Mirrors left to right and upside down, float64 [n, 3, 3]; ``flipped`` is [n, 2]."""
        signs = np.where(flipped, -1.0, 1.0)
        return _affine(signs[:, None] * np.eye(2), flipped * np.array([self.canvas.width, self.canvas.height]))

    def _turns(self, angles: Floats) -> Floats:
        """Rotations about the middle of the canvas, float64 [n, 3, 3]; radians [n]."""
        c, s = np.cos(angles), np.sin(angles)
        linear = np.stack([c, -s, s, c], axis=1).reshape(-1, 2, 2)
        middle = np.array([self.canvas.width, self.canvas.height]) / 2.0
        return _affine(linear, middle - linear @ middle)

    def _zooms(self, ratios: Floats, places: Floats) -> Floats:
        """From the canvas to pictures that are ``ratios`` [n] times smaller, at ``places`` [n, 2] of 0–1."""
        room = np.array([self.canvas.width, self.canvas.height]) * (1.0 - 1.0 / ratios)[:, None]
        return _affine(ratios[:, None, None] * np.eye(2), -(places * room) * ratios[:, None])


def _affine(linear: Floats, offsets: Floats) -> Floats:
    """Matrices float64 [n, 3, 3] of linear parts [n, 2, 2] and offsets [n, 2]."""
    matrices = np.zeros((len(offsets), 3, 3))
    matrices[:, :2, :2] = linear
    matrices[:, :2, 2] = offsets
    matrices[:, 2, 2] = 1.0
    return matrices


def _truncated_normal(uniform: Floats) -> Floats:
    """Normal numbers within two standard deviations, by inversion of numbers of 0–1."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(_TAIL + (1.0 - 2.0 * _TAIL) * u) for u in uniform.tolist()])
