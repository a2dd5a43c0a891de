"""The torch engine: a DataLoader whose workers are threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from xraycls.data.image import GreyImage
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.pictures import PictureSet, opened
from xraycls.loaders.prefetch import prefetched
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.loaders.sampler import IndexBatch, Sampler


class _Pending(NamedTuple):
    """A batch while threads fill it: pictures, and the rows that could not be read."""

    images: torch.Tensor
    failed: set[int]


class TorchLoader(Engine, DataLoader[GreyImage]):  # type: ignore[misc]
    """Batches of pictures, decoded by OpenCV in threads ahead of the model; a DataLoader as any other.

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch.
        threads: decoding threads; 0 decodes in the calling thread.
        prefetch: batches prepared ahead of the model.
        pin_memory: page-locked batches, for copies to a GPU that don't block.
        objects: what is to be found in the pictures.
        strict: raise DataError for a picture that can't be read.
    """

    def __init__(
        self,
        table: SampleTable,
        recipe: ViewRecipe,
        sampler: Sampler,
        *,
        threads: int = 2,
        prefetch: int = 3,
        pin_memory: bool = False,
        objects: ObjectTable | None = None,
        strict: bool = False,
    ) -> None:
        Engine.__init__(self, table, recipe, sampler, objects=objects, strict=strict)
        self.threads = threads
        self.prefetch = prefetch
        self.pinned = pin_memory
        DataLoader.__init__(self, PictureSet(table, recipe), batch_sampler=sampler)  # type: ignore[arg-type]

    def _draw(self, epoch: int, batches: Iterator[IndexBatch]) -> Drawn:
        def fill(pending: _Pending, batch: IndexBatch, rows: range) -> None:
            self._fill(pending, batch, epoch, rows)

        ahead = prefetched(batches, self._begin, fill, threads=self.threads, prefetch=self.prefetch)
        with closing(ahead):
            for batch, pending in ahead:
                yield batch, pending.images, pending.failed

    def _begin(self, batch: IndexBatch) -> _Pending:
        shape = len(batch.indices), 1, *self.recipe.canvas.shape
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pinned)
        return _Pending(images, set())

    def _fill(self, pending: _Pending, batch: IndexBatch, epoch: int, rows: range) -> None:
        place = pending.images.numpy()
        for row, image, view in opened(self.table, self.recipe, self.index_sampler, epoch, batch, rows, self.objects):
            try:
                if isinstance(image, DataError):
                    raise image
                place[row, 0] = render(image, view, self.recipe.canvas)
            except DataError as error:
                self._fail(int(batch.indices[row]), error)
                pending.failed.add(row)
