"""Single pictures of a table, as every engine renders them on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset

from xraycls.data.image import GreyImage, Image
from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.loaders.sampler import IndexBatch, Sampler
from xraycls.loaders.views import View


class PictureSet(Dataset[GreyImage]):
    """A table's samples as evaluation pictures: ``pictures[i]`` is uint8 [height, width]."""

    def __init__(self, table: SampleTable, recipe: ViewRecipe) -> None:
        self.table = table
        self.recipe = recipe

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> GreyImage:
        image = open_image(self.table[index])
        return render(image, self.recipe.evaluation_views((image.width, image.height))[0], self.recipe.canvas)


def opened(
    table: SampleTable,
    recipe: ViewRecipe,
    sampler: Sampler,
    epoch: int,
    batch: IndexBatch,
    rows: range,
    objects: ObjectTable | None = None,
) -> Iterator[tuple[int, Image | DataError, View]]:
    """The opened images of some consecutive rows of a batch with their views, or why one can't be opened.

    Whoever opens them draws all their views in one go, which costs hardly more than drawing one. The
    views are noted in the batch.
    """
    images: list[Image | DataError] = []
    for row in rows:
        try:
            images.append(open_image(table[int(batch.indices[row])]))
        except DataError as error:
            images.append(error)
    sizes = np.array([(1, 1) if isinstance(i, DataError) else (i.width, i.height) for i in images])
    if sampler.training:
        boxes = [objects.boxes[int(batch.indices[row])] for row in rows] if objects else ()
        views = recipe.training_views(sampler.seed, epoch, int(batch.positions[rows.start]), sizes, boxes)
    else:
        views = recipe.evaluation_views(sizes)
    batch.matrices[rows.start : rows.stop] = views.matrices
    yield from zip(rows, images, views, strict=True)
