"""Test-time augmentation: a picture is seen in several ways, and the probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xraycls.errors import unknown
from xraycls.loaders.recipes.classification import Recipe
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.views import Floats, Views


@dataclass(frozen=True, slots=True)
class Move:
    """How a picture lies on the canvas, instead of filling it upright.

    Attributes:
        flip: whether left and right are exchanged.
        degrees: turned by, clockwise.
        right: moved by, in widths of the canvas.
        down: moved by, in heights.
        scale: enlarged by, about the middle.
    """

    flip: bool = False
    degrees: float = 0.0
    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0

    def matrix(self, width: int, height: int) -> Floats:
        """From a point of the moved picture to one of the unmoved, pixels of a canvas: float64 [3, 3].

        A flipped picture is mirrored first, then enlarged, turned and moved.
        """
        c, s = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        unturned = np.array([[c, s], [-s, c]]) / self.scale
        linear = np.diag([-1.0 if self.flip else 1.0, 1.0]) @ unturned
        middle = np.array([width, height]) / 2
        found = np.eye(3)
        found[:2, :2] = linear
        found[:2, 2] = middle - linear @ (middle + np.array([self.right * width, self.down * height]))
        return found


MOVES: Mapping[str, tuple[Move, ...]] = {
    "flip": (Move(flip=True),),
    "rotate": (Move(degrees=-5.0), Move(degrees=5.0)),
    "shift": (Move(right=-0.04), Move(right=0.04), Move(down=-0.04), Move(down=0.04)),
    "scale": (Move(scale=0.95), Move(scale=1.05)),
}
"""The moves that each name of ``--tta`` adds to the unmoved picture."""


def moves_of(text: str | None) -> tuple[Move, ...]:
    """Returns the ways in which a picture is seen: the unmoved one first, then those of each name.

    Args:
        text: names of :data:`MOVES`, separated by commas; None for none.

    Raises:
        UsageError: there is no such name.

    Example:
        >>> len(moves_of("flip,rotate"))
        4
    """
    names = dict.fromkeys(part.strip().lower() for part in (text or "").split(",") if part.strip())
    for name in names:
        if name not in MOVES:
            raise unknown("augmentation", name, MOVES, "--tta")
    return (Move(), *(move for name in names for move in MOVES[name]))


def described_moves(text: str | None) -> str:
    """Returns what is said of a choice: "flip, rotate: the mean of 4 views"; "" for none."""
    moves = moves_of(text)
    names = dict.fromkeys(part.strip().lower() for part in (text or "").split(",") if part.strip())
    return f"{', '.join(names)}: the mean of {len(moves)} views" if names else ""


@dataclass(frozen=True, slots=True)
class MovedRecipe(Recipe):
    """A recipe that sees pictures moved in evaluation; drawn from the file, so that no pixel is interpolated twice.

    Attributes:
        move: of every picture.
    """

    move: Move = Move()

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The whole images, stretched to the square and moved; ``sizes`` [n, 2] are widths and heights in pixels."""
        views = Recipe.evaluation_views(self, sizes)
        return replace(views, matrices=views.matrices @ self.move.matrix(self.size, self.size))


def moved_recipe(recipe: ViewRecipe, move: Move) -> MovedRecipe:
    """Returns the recipe of a classifier with a move."""
    if not isinstance(recipe, Recipe):
        raise TypeError(f"no classifier renders pictures by {type(recipe).__name__}")
    return MovedRecipe(**{name: getattr(recipe, name) for name in Recipe.__dataclass_fields__}, move=move)
