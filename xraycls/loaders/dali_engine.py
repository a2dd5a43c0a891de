"""The DALI engine: files are read here, decoded and drawn by DALI on the GPU or, without one, on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.dali_feed import Feed, black, feed_of, packed
from xraycls.loaders.dali_graph import DaliGraph, GraphFailure
from xraycls.loaders.dali_pipeline import DaliPipeline, Fed
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.photometric import change_grey_levels
from xraycls.loaders.pictures import opened
from xraycls.loaders.prefetch import prefetched
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.loaders.sampler import IndexBatch, Sampler
from xraycls.loaders.views import View

logger = logging.getLogger(__name__)


class DaliLoader(Engine):
    """Batches of pictures drawn by NVIDIA DALI.

    The graph receives bytes and numbers only, so its pictures are those of every other engine. Files of formats that
    DALI doesn't know are decoded here. A batch that it refuses is drawn picture by picture, and a file that it refuses
    even then is decoded here from then on.

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch.
        device: a CUDA device, or a CPU for DALI's CPU operators.
        threads: for reading; DALI has as many of its own, and one more.
        prefetch: batches in work at a time; lowered to 1 once when memory runs out.
        reduced: decode and shrink large pictures here, by OpenCV. None does so on a CPU only, where DALI, whose
            decoders know nothing but full size, takes a third to a half as long again.
        objects: what is to be found in the pictures.
        strict: raise DataError for a picture that can't be read.

    Raises:
        MissingExtra: DALI isn't installed.
        UsageError: DALI can't use the GPU.
    """

    def __init__(
        self,
        table: SampleTable,
        recipe: ViewRecipe,
        sampler: Sampler,
        *,
        device: torch.device,
        threads: int = 2,
        prefetch: int = 2,
        reduced: bool | None = None,
        objects: ObjectTable | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(table, recipe, sampler, objects=objects, strict=strict)
        self.device = device
        self.threads = threads
        self.prefetch = prefetch
        self.reduced = device.type == "cpu" if reduced is None else reduced
        self._refused: set[int] = set()
        self._idle = [self._line()]  # graphs take time to build: one waits for the next epoch

    def _draw(self, epoch: int, batches: Iterator[IndexBatch]) -> Drawn:
        def fill(fed: Fed, batch: IndexBatch, rows: range) -> None:
            self._fill(fed, batch, epoch, rows)

        line = self._idle.pop() if self._idle else self._line()
        # The rows of a store are only looked up: on a CPU, threads for that would just get in DALI's way.
        threads = 0 if self.table.source == "prepared" and self.device.type == "cpu" else self.threads
        reading = prefetched(batches, self._begin, fill, threads=threads, prefetch=self.prefetch + 1)
        with closing(reading):
            line.start(reading)
            try:
                while (drawn := line.next()) is not None:
                    batch, fed, images = drawn
                    if images is None:
                        images = self._drawn_singly(batch, fed, epoch)
                    if fed.curves is not None:
                        images = change_grey_levels(images, fed.curves)
                    yield batch, images, fed.failed
            finally:
                line.finish()
                self._idle = [line]

    def _line(self) -> DaliPipeline:
        return DaliPipeline(self._builder(self.index_sampler.batch_size), self.prefetch)

    def _builder(self, batch_size: int) -> Callable[..., DaliGraph]:
        """Makes graphs of a source and a ``prefetch``, without holding this loader alive."""
        return partial(
            DaliGraph,
            canvas=self.recipe.canvas,
            batch_size=batch_size,
            threads=self.threads + 1,  # one more fills the gaps between operators (7 % on two cores)
            device=self.device,
        )

    def _begin(self, batch: IndexBatch) -> Fed:
        count = len(batch.indices)
        changes = self.index_sampler.training and self.recipe.changes_greys
        return Fed([black()] * count, np.empty((count, 256), np.uint8) if changes else None, set())

    def _fill(self, fed: Fed, batch: IndexBatch, epoch: int, rows: range) -> None:
        for row, image, view in opened(self.table, self.recipe, self.index_sampler, epoch, batch, rows, self.objects):
            index = int(batch.indices[row])
            try:
                if isinstance(image, DataError):
                    raise image
                if index in self._refused:
                    image = replace(image, encoded=None)
                fed.feeds[row] = feed_of(image, view, self.recipe.canvas, reduced=self.reduced)
            except DataError as error:
                self._fail(index, error)
                fed.failed.add(row)
            if fed.curves is not None:
                fed.curves[row] = view.curve

    def _drawn_singly(self, batch: IndexBatch, fed: Fed, epoch: int) -> torch.Tensor:
        """The pictures of a batch that DALI refused, before the change of grey levels; uint8 [B, 1, H, W].

        Only the picture that is at fault is drawn without DALI, so that the others stay what they always are.
        """
        canvas, rows = self.recipe.canvas, range(len(batch.indices))
        images = torch.zeros((len(rows), 1, *canvas.shape), dtype=torch.uint8, device=self.device)
        reasons = []
        for row, image, view in opened(self.table, self.recipe, self.index_sampler, epoch, batch, rows, self.objects):
            try:
                images[row] = self._alone(fed.feeds[row])
            except GraphFailure as failure:
                reasons.append(str(failure))
                index = int(batch.indices[row])
                self._refused.add(index)
                try:
                    if isinstance(image, DataError):
                        raise image
                    images[row, 0] = torch.from_numpy(render(image, View(view.matrix), canvas))
                except DataError as error:
                    self._fail(index, error)
                    fed.failed.add(row)
        if len(reasons) == len(rows) > 1:
            logger.warning("DALI refuses every picture of a batch, so OpenCV draws it: %s", reasons[0])
        return images

    def _alone(self, feed: Feed) -> torch.Tensor:
        """One picture by a graph of its own, uint8 [1, 1, H, W]; raises GraphFailure."""
        feeds = iter([packed([feed])])
        drawn = self._builder(1)(lambda: next(feeds), prefetch=1).run()
        if drawn is None:
            raise GraphFailure("no picture came out", out_of_memory=False)
        return drawn
