"""Augmentation of U-Net: small changes of pose and exposure that leave a film a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.loaders.random import generator
from xraycls.loaders.recipes.geometry import region_views
from xraycls.loaders.recipes.protocol import Indices, SinglePicture
from xraycls.loaders.views import Canvas, Floats, Views

_DRAWS = 8  # numbers a view: whole blocks of Philox


@dataclass(frozen=True, slots=True)
class UNetRecipe(SinglePicture):
    """Flip, zoom, rotation and shift about the middle, and changes of grey levels, each drawn evenly.

    Attributes:
        canvas: of the network.
        flip: probability of a horizontal flip.
        zoom: largest change of the size, in natural logarithms.
        degrees: largest rotation.
        shift: largest shift as a share of each side.
        gamma: largest change of the exponent of grey levels, in natural logarithms.
        contrast: largest change of a factor about the middle grey.
        brightness: largest change of grey levels of 0–1.
    """

    canvas: Canvas
    flip: float = 0.5
    zoom: float = 0.18
    degrees: float = 7.0
    shift: float = 0.07
    gamma: float = 0.25
    contrast: float = 0.2
    brightness: float = 0.08

    @property
    def inscribed(self) -> bool:
        """A turned box is the one around the ellipse in it: around its corners it would grow with every rotation."""
        return True

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""
        return any((self.gamma, self.contrast, self.brightness))

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
        """The views of the pictures at positions ``first``, ``first + 1``, … of an epoch; boxes change nothing."""
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        drawn = generator(seed, epoch, first, _DRAWS).random((len(sizes), _DRAWS))
        even = 2.0 * drawn - 1.0
        angle, zoom = np.radians(self.degrees) * even[:, 2], np.exp(self.zoom * even[:, 1])
        mirror = np.where(drawn[:, 0] < self.flip, -1.0, 1.0)
        canvas = np.array([self.canvas.width, self.canvas.height], np.float64)
        turn = np.stack([np.cos(angle) * mirror, -np.sin(angle), np.sin(angle) * mirror, np.cos(angle)], axis=1)
        turn = turn.reshape(-1, 2, 2) * zoom[:, None, None]
        middle = canvas / 2
        offset = middle + self.shift * even[:, 3:5] * canvas - turn @ middle
        matrices = np.concatenate([turn, offset[:, :, None]], axis=2) * (sizes / canvas)[:, :, None]
        gamma = np.exp(self.gamma * even[:, 5])
        return Views(matrices, self.brightness * even[:, 7], 1.0 + self.contrast * even[:, 6], gamma)
