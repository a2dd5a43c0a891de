"""Single pictures of a table, as every engine renders them on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from xraycls.data.image import GreyImage, Image
from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.cache import PictureCache
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Views


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


class Opened(NamedTuple):
    """The pictures of some consecutive rows of a batch.

    Attributes:
        parts: their numbers in the plan.
        images: each, or why it can't be opened.
        views: of each.
    """

    parts: range
    images: list[Image | DataError]
    views: Views


def opened(
    table: SampleTable,
    plan: BatchPlan,
    sampler: Sampler,
    rows: range,
    objects: ObjectTable | None = None,
    cache: PictureCache | None = None,
) -> Opened:
    """Open the pictures of some consecutive rows of a batch, and draw their views.

    All views are drawn in one go, which costs hardly more than drawing one, and noted in the plan.
    """
    parts = plan.parts(rows)
    samples = plan.pictures[parts.start : parts.stop].tolist()
    images: list[Image | DataError] = []
    for sample in samples:
        try:
            images.append(cache.open(sample) if cache else open_image(table[sample]))
        except DataError as error:
            images.append(error)
    sizes = np.array([(1, 1) if isinstance(i, DataError) else (i.width, i.height) for i in images])
    boxes = [objects.boxes[sample] for sample in samples] if objects else ()
    views = plan.views(sampler.seed, rows, sizes, boxes, training=sampler.training)
    plan.note(parts, views)
    if cache:
        images = cache.close_enough(samples, images, views)
    return Opened(parts, images, views)
