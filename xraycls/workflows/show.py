"""What an augmentation recipe does to one picture, as a contact sheet."""

from __future__ import annotations

import math

import numpy as np

from xraycls.data.open import open_image
from xraycls.data.sheet import Pixels, Tile, contact_sheet
from xraycls.data.show import TILE
from xraycls.data.split import shuffling_key
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.recipes.classification import Recipe
from xraycls.loaders.render import render
from xraycls.loaders.views import View
from xraycls.types import Sample


def picture_named(table: SampleTable, name: str | None, seed: int = 0) -> Sample:
    """The sample that a user means.

    Args:
        table: the samples to choose from, one or more.
        name: its path, its name within the data set, its file name, or its number in the table, from 0; None for any,
            drawn by the seed.
        seed: of that draw.

    Raises:
        DataError: no such picture, or several of that file name.
    """
    if name is None:
        return min(table, key=lambda sample: shuffling_key(f"{seed}/{table.name_of(sample)}"))
    if name.isdecimal() and int(name) < len(table):
        return table[int(name)]
    for spelling in (lambda s: str(s.path), table.name_of, lambda s: s.path.name):
        matching = [sample for sample in table if spelling(sample) == name]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise DataError(
                f"{len(matching)} images of {table.root} are called {name}, such as {table.name_of(matching[0])}",
                table.root,
                "Give its path",
            )
    raise DataError(
        f"{table.root} has no image {name}", table.root, f"Give a path or a number from 0 to {len(table) - 1}"
    )


def view_sheet(table: SampleTable, sample: Sample, recipe: Recipe, *, n: int = 16, seed: int = 0) -> Pixels:
    """A picture, and beside it how training sees it, as a contact sheet of n tiles; RGB uint8 [H, W, 3].

    The views are those of the first positions of the first epoch of a run with this seed.

    Raises:
        DataError: the picture can't be read.
    """
    image = open_image(sample)
    size = (image.width, image.height)
    original = Tile(image.pixels(), f"the original, {image.width} × {image.height}", sample.boxes, size)
    views = recipe.training_views(seed, 0, 0, np.tile(size, (n - 1, 1)))
    tiles = [Tile(render(image, view, recipe.canvas), _caption(view, recipe.size, size)) for view in views]
    return contact_sheet([original, *tiles], columns=math.ceil(math.sqrt(n)), side=TILE, title=table.name_of(sample))


def _caption(view: View, size: int, source: tuple[int, int]) -> str:
    """What a view does, in two lines."""
    (a, b, _), (c, d, _) = view.matrix
    mirrored, upside_down = a < 0, d < 0
    # The picture turns the other way round than the grid that it is read from, which lies in the mirrored source.
    angle = math.degrees(math.atan2(-c if upside_down else c, abs(a)))
    area = abs(a * d - b * c) * size * size / (source[0] * source[1])
    parts = ["mirrored"] if mirrored else []
    parts += ["upside down"] if upside_down else []
    parts += [f"{abs(angle):.0f}° {'↺' if angle > 0 else '↻'}"] if round(angle) else []
    parts += [f"{area:.0%} of the area"]
    greys = [f"brightness {view.brightness:+.2f}", f"contrast {view.contrast:.2f}", f"gamma {view.gamma:.2f}"]
    return ", ".join(parts) + ("\n" + ", ".join(greys) if view.is_photometric else "")
