"""Views: where every output pixel lies in the source picture, and how grey levels change. Plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LEVELS = np.arange(256) / 255.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """What pictures are drawn on.

    Attributes:
        height: pixels.
        width: pixels.
        fill: grey level of what lies outside the source, 0–255; None for the mean grey level of what is drawn.
    """

    height: int
    width: int
    fill: int | None = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are exclusive."""


def whole(canvas: Canvas) -> Rectangle:
    """The rectangle that is all of a canvas."""
    return 0, 0, canvas.width, canvas.height


@dataclass(frozen=True, slots=True)
class View:
    """How one picture is rendered.

    Attributes:
        matrix: float64 [2, 3]; maps a point of the output, in pixels from its top-left corner (pixel centres
            at one half), to a point of the upright source image in the same convention.
        brightness: added to grey levels of 0–1.
        contrast: factor about the middle grey of 0.5.
        gamma: exponent of grey levels of 0–1, applied first.
        target: what the picture fills of the canvas; None for all of it.
    """

    matrix: Floats
    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    target: Rectangle | None = None

    @property
    def scale(self) -> float:
        """Source pixels an output pixel, in the direction where that is fewest."""
        (a, b, _), (c, d, _) = self.matrix.tolist()
        # The smaller singular value of a 2×2 matrix, in closed form.
        sum_of_squares, determinant = a * a + b * b + c * c + d * d, abs(a * d - b * c)
        return math.sqrt(max(sum_of_squares - math.sqrt(max(sum_of_squares**2 - 4 * determinant**2, 0.0)), 0.0) / 2)

    def on_grid(self, x: float, y: float) -> View:
        """The same view of a copy of the image that has ``x`` and ``y`` times as many pixels across and down."""
        return self._moved(self.matrix * np.array([[x], [y]]), self.target)

    def on_part(self, left: float, top: float) -> View:
        """The same view of a part of the image, from the pixel (``left``, ``top``) on."""
        return self._moved(self.matrix - np.array([[0.0, 0.0, left], [0.0, 0.0, top]]), self.target)

    def on_target(self) -> View:
        """The same view with its matrix in pixels of the target's own top-left corner, and no target."""
        if self.target is None:
            return self
        left, top, _, _ = self.target
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, 0] * left + matrix[:, 1] * top
        return self._moved(matrix, None)

    def _moved(self, matrix: Floats, target: Rectangle | None) -> View:
        # Called several times a picture, where dataclasses.replace would take as long as everything else.
        return View(matrix, self.brightness, self.contrast, self.gamma, target)

    @property
    def is_photometric(self) -> bool:
        """Whether grey levels change at all."""
        return (self.brightness, self.contrast, self.gamma) != (0.0, 1.0, 1.0)

    @property
    def curve(self) -> npt.NDArray[np.uint8]:
        """The change of grey levels as a table, uint8 [256]."""
        return _curve(self.brightness, self.contrast, self.gamma)


@dataclass(frozen=True, slots=True)
class Views:
    """The views of several pictures, as arrays.

    Attributes:
        matrices: float64 [n, 2, 3], as :attr:`View.matrix`.
        brightness: float64 [n].
        contrast: float64 [n].
        gamma: float64 [n].
        targets: int64 [n, 4], :attr:`View.target` of each; None where each fills its canvas.
        cropped: bool [n], whether each shows a crop that was drawn at random; None where none does.
    """

    matrices: Floats
    brightness: Floats
    contrast: Floats
    gamma: Floats
    targets: npt.NDArray[np.int64] | None = None
    cropped: npt.NDArray[np.bool_] | None = None

    @classmethod
    def plain(cls, matrices: Floats) -> Views:
        """Views that fill their canvas and leave grey levels as they are."""
        zeros, ones = np.zeros(len(matrices)), np.ones(len(matrices))
        return cls(matrices, brightness=zeros, contrast=ones, gamma=ones)

    @property
    def scales(self) -> Floats:
        """:attr:`View.scale` of each, float64 [n]."""
        (a, b), (c, d) = self.matrices[:, 0, :2].T, self.matrices[:, 1, :2].T
        sum_of_squares, determinant = a * a + b * b + c * c + d * d, np.abs(a * d - b * c)
        spread = np.sqrt(np.maximum(sum_of_squares**2 - 4 * determinant**2, 0.0))
        return np.asarray(np.sqrt(np.maximum(sum_of_squares - spread, 0.0) / 2))

    @property
    def steps(self) -> Floats:
        """Source pixels from an output pixel to the next, across and down the source; float64 [n, 2]."""
        return np.hypot(self.matrices[:, :, 0], self.matrices[:, :, 1])

    def on_grid(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Views:
        """:meth:`View.on_grid` for each: ``x`` and ``y`` are numbers or arrays [n]."""
        factors = np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(-1, 2, 1)
        return replace(self, matrices=self.matrices * factors)

    def on_targets(self) -> Views:
        """:meth:`View.on_target` for each."""
        if self.targets is None:
            return self
        matrices = self.matrices.copy()
        matrices[:, :, 2] += matrices[:, :, 0] * self.targets[:, :1] + matrices[:, :, 1] * self.targets[:, 1:2]
        return replace(self, matrices=matrices, targets=None)

    @property
    def is_photometric(self) -> bool:
        """Whether grey levels change in any of the pictures."""
        return bool((self.brightness != 0.0).any() or (self.contrast != 1.0).any() or (self.gamma != 1.0).any())

    @property
    def curves(self) -> npt.NDArray[np.uint8]:
        """:attr:`View.curve` of each, uint8 [n, 256]."""
        return _curve(self.brightness[:, None], self.contrast[:, None], self.gamma[:, None])

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, index: int) -> View:
        left, top, right, bottom = (0, 0, 0, 0) if self.targets is None else self.targets[index].tolist()
        return View(
            self.matrices[index],
            float(self.brightness[index]),
            float(self.contrast[index]),
            float(self.gamma[index]),
            None if self.targets is None else (left, top, right, bottom),
        )

    def __iter__(self) -> Iterator[View]:
        return (self[index] for index in range(len(self)))


def _curve(brightness: float | Floats, contrast: float | Floats, gamma: float | Floats) -> npt.NDArray[np.uint8]:
    levels = _LEVELS if isinstance(gamma, float) and gamma == 1.0 else _LEVELS**gamma
    levels = (levels - 0.5) * contrast + 0.5 + brightness
    return (levels * 255.0 + 0.5).clip(0, 255).astype(np.uint8)
