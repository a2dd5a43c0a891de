"""Augmentation as data: the recipe draws numbers, an engine turns them into pixels.

A view says where every output pixel lies in the source image (one affine) and how grey levels change
(three scalars). It follows from (seed, epoch, position in the epoch, image size) alone, so every engine gives
the same picture and a resumed run sees exactly the images that it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError, unknown
from xraycls.loaders.random import generator
from xraycls.loaders.recipes.protocol import Indices, SinglePicture
from xraycls.loaders.views import Canvas, Floats, View, Views

_CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop
_DRAWS = 8 + 2 * _CROP_ATTEMPTS  # numbers a view: whole blocks


@dataclass(frozen=True, slots=True)
class Recipe(SinglePicture):
    """The distribution that training views are drawn from, and the one view of evaluation.

    Attributes:
        size: side of the square output, pixels.
        horizontal_flip: probability.
        vertical_flip: probability.
        rotation: largest angle, degrees either way.
        area: range of the crop's share of the image.
        aspect: range of the crop's width over height, drawn log-uniformly.
        relative_aspect: whether ``aspect`` is relative to the image's own (1 keeps it), or in pixels.
        brightness: largest shift either way, in units of the full grey range.
        contrast: largest log2 of the factor either way.
        gamma: largest log2 of the exponent either way.
    """

    size: int
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    rotation: float = 10.0
    area: tuple[float, float] = (0.7, 1.0)
    aspect: tuple[float, float] = (0.85, 1.18)
    relative_aspect: bool = True
    brightness: float = 0.1
    contrast: float = 0.3
    gamma: float = 0.3

    @property
    def canvas(self) -> Canvas:
        """The square that pictures are drawn on, black outside the source."""
        return Canvas(self.size, self.size)

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""
        return any((self.brightness, self.contrast, self.gamma))

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The whole images, stretched to the square; ``sizes`` [n, 2] are widths and heights in pixels."""
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        matrices = np.zeros((len(sizes), 2, 3))
        matrices[:, (0, 1), (0, 1)] = sizes / self.size
        none = np.zeros(len(sizes))
        return Views(matrices, none, none + 1.0, none + 1.0)

    def training_views(
        self,
        seed: int,
        epoch: int,
        first: int,
        sizes: npt.ArrayLike,
        boxes: Sequence[Floats] = (),
        owners: Indices | None = None,
    ) -> Views:
        """The views of the images that stand at positions ``first``, ``first + 1``, … of an epoch.

        Args:
            seed: of the run.
            epoch: counted from 0.
            first: position of the first image in the epoch.
            sizes: [n, 2], width and height of every image in pixels.
            boxes: not looked at; a recipe for detection keeps them in sight.
            owners: not looked at; each sample is one picture.
        """
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        count = len(sizes)
        drawn = generator(seed, epoch, first, _DRAWS).random((count, _DRAWS))
        flips, turn, position, greys = drawn[:, :2], drawn[:, 2], drawn[:, 3:5], 2.0 * drawn[:, 5:8] - 1.0
        crops = self._crop_sizes(drawn[:, 8:].reshape(count, 2, _CROP_ATTEMPTS), sizes)
        linear = np.zeros((count, 2, 2))
        linear[:, (0, 1), (0, 1)] = crops / self.size
        corner = position * (sizes - crops)
        angle = np.radians(self.rotation * (2.0 * turn - 1.0))
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.stack([c, -s, s, c], axis=1).reshape(count, 2, 2)
        middle = sizes / 2.0
        linear = rotation @ linear
        offset = (rotation @ (corner - middle)[:, :, None])[:, :, 0] + middle
        flipped = flips < (self.horizontal_flip, self.vertical_flip)
        sign = np.where(flipped, -1.0, 1.0)
        matrices = np.empty((count, 2, 3))
        matrices[:, :, :2] = linear * sign[:, :, None]
        matrices[:, :, 2] = np.where(flipped, sizes - offset, offset)
        return Views(
            matrices,
            brightness=self.brightness * greys[:, 0],
            contrast=2.0 ** (self.contrast * greys[:, 1]),
            gamma=2.0 ** (self.gamma * greys[:, 2]),
        )

    def evaluation_view(self, width: int, height: int) -> View:
        """The evaluation view of one image of so many pixels."""
        return self.evaluation_views((width, height))[0]

    def training_view(self, seed: int, epoch: int, position: int, width: int, height: int) -> View:
        """The training view of one image of so many pixels, at one position of an epoch."""
        return self.training_views(seed, epoch, position, (width, height))[0]

    def _crop_sizes(self, drawn: Floats, sizes: Floats) -> Floats:
        """Width and height of each crop, pixels [n, 2]: the first of several draws that fits inside the image.

        ``drawn`` are numbers of 0–1, [n, 2, attempts]: for the area and for the aspect.
        """
        frames = np.ones_like(sizes) if self.relative_aspect else sizes
        low, high = self.area
        areas = (low + (high - low) * drawn[:, 0]) * frames.prod(axis=1, keepdims=True)
        low, high = np.log(self.aspect)
        aspects = np.exp(low + (high - low) * drawn[:, 1])
        widths, heights = np.sqrt(areas * aspects), np.sqrt(areas / aspects)
        fits = (widths <= frames[:, :1]) & (heights <= frames[:, 1:])
        chosen = np.arange(len(sizes)), fits.argmax(axis=1)
        drawn_crops = np.stack([widths[chosen], heights[chosen]], axis=1)
        # Where no draw fits: the whole image, cut to the nearest aspect allowed.
        nearest = np.clip(frames[:, 0] / frames[:, 1], *self.aspect)
        whole = np.stack(
            [np.minimum(frames[:, 0], frames[:, 1] * nearest), np.minimum(frames[:, 1], frames[:, 0] / nearest)], axis=1
        )
        return np.where(fits.any(axis=1, keepdims=True), drawn_crops, whole) * sizes / frames


PRESETS = {
    "radiograph": Recipe(size=224),
    "classic2021": Recipe(
        size=224,
        vertical_flip=0.5,
        rotation=25.0,
        area=(0.4, 1.0),
        aspect=(0.5, 1.5),
        relative_aspect=False,
        brightness=0.0,
        contrast=0.0,
        gamma=0.0,
    ),
    "none": Recipe(
        size=224,
        horizontal_flip=0.0,
        rotation=0.0,
        area=(1.0, 1.0),
        aspect=(1.0, 1.0),
        brightness=0.0,
        contrast=0.0,
        gamma=0.0,
    ),
}


def find_recipe(name: str, size: int) -> Recipe:
    """A preset at an output size in pixels; raises UsageError for an unknown name or a size below 8."""
    if name not in PRESETS:
        raise unknown("augmentation preset", name, PRESETS, "--augment")
    if size < 8:
        raise UsageError(f"--size {size} is too small", "Radiographs need at least 8 pixels a side, usually 224")
    return replace(PRESETS[name], size=size)
