"""Augmentation as data: the recipe draws numbers, an engine turns them into pixels.

A :class:`View` says where every output pixel lies in the source image (one affine) and how grey levels change
(three scalars). It follows from (seed, epoch, position in the epoch, image size) alone, so every engine gives
the same picture and a resumed run sees exactly the images that it would have seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError, unknown

_CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop
_ORDER_STREAM, _VIEW_STREAM = 0, 1


@dataclass(frozen=True, slots=True)
class View:
    """How one picture is rendered.

    Attributes:
        matrix: float64 [2, 3]; maps a point of the output, in pixels from its top-left corner (pixel centres
            at one half), to a point of the upright source image in the same convention.
        brightness: added to grey levels of 0–1.
        contrast: factor about the middle grey of 0.5.
        gamma: exponent of grey levels of 0–1, applied first.
    """

    matrix: npt.NDArray[np.float64]
    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0

    @property
    def scale(self) -> float:
        """Source pixels an output pixel, in the direction where that is fewest."""
        (a, b, _), (c, d, _) = self.matrix.tolist()
        # The smaller singular value of a 2×2 matrix, in closed form.
        sum_of_squares, determinant = a * a + b * b + c * c + d * d, abs(a * d - b * c)
        return math.sqrt(max(sum_of_squares - math.sqrt(max(sum_of_squares**2 - 4 * determinant**2, 0.0)), 0.0) / 2)

    @property
    def is_photometric(self) -> bool:
        """Whether grey levels change at all."""
        return (self.brightness, self.contrast, self.gamma) != (0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Recipe:
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

    def evaluation_view(self, width: int, height: int) -> View:
        """The whole image, stretched to the square."""
        return View(np.array([[width / self.size, 0.0, 0.0], [0.0, height / self.size, 0.0]]))

    def training_view(self, seed: int, epoch: int, position: int, width: int, height: int) -> View:
        """The view of the image that stands at ``position`` of an epoch; width and height in pixels."""
        random = generator(seed, epoch, position)
        flip_x, flip_y, turn, place_x, place_y, *greys = random.random(8)
        crop_width, crop_height = self._crop_size(random, width, height)
        left, top = place_x * (width - crop_width), place_y * (height - crop_height)
        crop = np.array([[crop_width / self.size, 0.0, left], [0.0, crop_height / self.size, top], [0.0, 0.0, 1.0]])
        angle = math.radians(self.rotation * (2.0 * turn - 1.0))
        matrix = _rotation_about(angle, width / 2.0, height / 2.0) @ crop
        if flip_x < self.horizontal_flip:
            matrix[0] = np.array([0.0, 0.0, width]) - matrix[0]
        if flip_y < self.vertical_flip:
            matrix[1] = np.array([0.0, 0.0, height]) - matrix[1]
        brightness, contrast, gamma = (2.0 * g - 1.0 for g in greys)
        return View(
            matrix[:2],
            brightness=self.brightness * brightness,
            contrast=2.0 ** (self.contrast * contrast),
            gamma=2.0 ** (self.gamma * gamma),
        )

    def _crop_size(self, random: np.random.Generator, width: int, height: int) -> tuple[float, float]:
        """Width and height of the crop, pixels: the first of several draws that fits inside the image."""
        frame = (1.0, 1.0) if self.relative_aspect else (float(width), float(height))
        areas = random.uniform(*self.area, _CROP_ATTEMPTS) * frame[0] * frame[1]
        aspects = np.exp(random.uniform(math.log(self.aspect[0]), math.log(self.aspect[1]), _CROP_ATTEMPTS))
        widths, heights = np.sqrt(areas * aspects), np.sqrt(areas / aspects)
        fits = np.flatnonzero((widths <= frame[0]) & (heights <= frame[1]))
        if fits.size:
            crop = float(widths[fits[0]]), float(heights[fits[0]])
        else:  # the whole image, cut to the nearest aspect allowed
            low, high = self.aspect
            nearest = min(max(frame[0] / frame[1], low), high)
            crop = min(frame[0], frame[1] * nearest), min(frame[1], frame[0] / nearest)
        return crop[0] * width / frame[0], crop[1] * height / frame[1]


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


def generator(seed: int, epoch: int, position: int | None = None) -> np.random.Generator:
    """Random numbers that depend on nothing but these: of an epoch's order, or of one position in it.

    Philox is counter-based (Salmon et al., SC 2011): any position is reached at once and streams don't overlap.
    """
    stream = (_ORDER_STREAM, 0) if position is None else (_VIEW_STREAM, position)
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, *stream]))


def _rotation_about(angle: float, x: float, y: float) -> npt.NDArray[np.float64]:
    """3×3 rotation by ``angle`` radians about the point (x, y)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y], [0.0, 0.0, 1.0]])
