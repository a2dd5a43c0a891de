"""The sheet that a phantom is drawn on, and the few shapes that everything is made of.

Lengths are in units of the frame: the picture is about 1.6 units wide, x runs from the patient's right
(negative, left in the picture) to the left, y runs down, and the origin is the middle of the chest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Point = tuple[float, float]

EXTENT = (0.98, 0.86)  # half the sides of the sheet: room for the frame to turn and shift
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Canvas:
    """A grid of pixel centres.

    Attributes:
        scale: pixels a unit.
        x: float32 [1, W].
        y: float32 [H, 1].
    """

    scale: float
    x: Field
    y: Field

    @classmethod
    def of_scale(cls, scale: float) -> Canvas:
        """The sheet at ``scale`` pixels a unit."""
        x, y = (((np.arange(round(2 * half * scale)) + 0.5) / scale - half).astype(np.float32) for half in EXTENT)
        return cls(scale, x[None, :], y[:, None])

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y.shape[0], self.x.shape[1]

    def coarser(self) -> Canvas:
        """The sheet at half the scale, for what is smooth."""
        return Canvas.of_scale(self.scale / 2)

    def enlarged(self, field: Field) -> Field:
        """A field of another scale at this one's."""
        return as_field(cv2.resize(field, self.shape[::-1], interpolation=cv2.INTER_LINEAR))

    def strokes(self, lines: Sequence[Points] | Points, width: float) -> Field:
        """Open curves of [n, 2] points, drawn ``width`` wide with smooth edges; 0–1 [H, W]."""
        mask = np.zeros(self.shape, np.uint8)
        thickness = max(1, round(width * self.scale))
        cv2.polylines(mask, self._pixels(lines), False, (255,), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        # A line thinner than a pixel is drawn a pixel wide and fainter.
        return mask * np.float32(min(1.0, width * self.scale) / 255.0)

    def polygon(self, outline: Points) -> Field:
        """A filled outline of [n, 2] points; 0–1 [H, W]."""
        mask = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(mask, self._pixels([outline]), (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
        return mask * np.float32(1 / 255.0)

    def blur(self, field: Field, sigma: float) -> Field:
        """Gaussian blur, ``sigma`` in units."""
        return as_field(cv2.GaussianBlur(field, (0, 0), max(0.3, sigma * self.scale)))

    def ellipse(self, centre: Point, radii: Point, angle: float = 0.0) -> Field:
        """Squared elliptical radius: 0 in the centre, 1 on the border; ``angle`` in radians, clockwise."""
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        x, y = self.x - centre[0], self.y - centre[1]
        along = x * (cos / radii[0]) + y * (sin / radii[0])
        across = y * (cos / radii[1]) - x * (sin / radii[1])
        return as_field(along * along + across * across)

    def capsule(self, start: Point, end: Point, radius: float) -> Field:
        """The depth of a round limb from ``start`` to ``end``, 0–1 as :func:`dome`."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        x, y = self.x - start[0], self.y - start[1]
        length = dx * dx + dy * dy
        along = np.clip(x * (dx / length) + y * (dy / length), 0.0, 1.0)
        aside, below = x - along * dx, y - along * dy
        return dome(as_field((aside * aside + below * below) / (radius * radius)))

    def _pixels(self, lines: Sequence[Points] | Points) -> list[npt.NDArray[np.int32]]:
        """Points in the fixed-point pixels of OpenCV's drawing functions."""
        ends = np.cumsum([len(line) for line in lines])
        points = (np.concatenate(lines) + EXTENT) * self.scale - 0.5
        fixed = np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        return [fixed[end - len(line) : end] for line, end in zip(lines, ends, strict=True)]


def as_field(values: npt.ArrayLike) -> Field:
    """The values as float32, without a copy where they are already."""
    return np.asarray(values, np.float32)


def dome(squared_radius: Field) -> Field:
    """The depth of a ball seen from the front: 1 in the middle, 0 from radius 1 on."""
    depth = as_field(1.0 - squared_radius)
    np.maximum(depth, 0.0, out=depth)
    return np.sqrt(depth, out=depth)


def bump(distance: Field, width: float) -> Field:
    """A bell: 1 at distance 0, 1/e at ``width``."""
    return as_field(np.exp(-np.square(distance / width)))


def ramp(values: Field, low: float, high: float) -> Field:
    """Smooth step: 0 up to ``low``, 1 from ``high``; falling where ``low`` > ``high``."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return as_field(t * t * (3.0 - 2.0 * t))


def mottle(rng: np.random.Generator, shape: tuple[int, int], cells: int, octaves: int = 1) -> Field:
    """Smooth noise of mean 0 and deviation near 1: about ``cells`` blobs a side, twice as many every octave."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        side = cells * 2**octave + 1
        coarse = rng.standard_normal((side, side), dtype=np.float32)
        total += cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
    return total
