"""The DALI engine: files are read here, decoded and drawn by DALI on the GPU or, without one, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.ahead import prepared_ahead
from xraycls.loaders.dali_feed import black, feed_of
from xraycls.loaders.dali_graph import DaliGraph, Source
from xraycls.loaders.dali_line import DaliLine, Fed
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.photometric import change_grey_levels
from xraycls.loaders.pictures import opened
from xraycls.loaders.recipe import Recipe
from xraycls.loaders.render import render
from xraycls.loaders.sampler import IndexBatch, Sampler
from xraycls.loaders.views import View


class DaliLoader(Engine):
    """Batches of pictures drawn by NVIDIA DALI.

    The graph receives bytes and numbers only, so its pictures are those of every other engine. What DALI can't decode
    is decoded here; a batch that it refuses is drawn here, and its files are decoded here from then on.

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch.
        device: a CUDA device, or a CPU for DALI's CPU operators.
        threads: for reading; DALI has as many of its own, and one more.
        prefetch: batches in work at a time; lowered to 1 once when memory runs out.
        strict: raise DataError for a picture that can't be read.

    Raises:
        MissingExtra: DALI isn't installed.
        UsageError: DALI can't use the GPU.
    """

    name: ClassVar[str] = "dali"

    def __init__(
        self,
        table: SampleTable,
        recipe: Recipe,
        sampler: Sampler,
        *,
        device: torch.device,
        threads: int = 2,
        prefetch: int = 2,
        strict: bool = False,
    ) -> None:
        super().__init__(table, recipe, sampler, strict=strict)
        self.device = device
        self.threads = threads
        self.prefetch = prefetch
        self._refused: set[int] = set()
        self._idle = [self._line()]  # graphs take time to build: one waits for the next epoch

    def _draw(self, epoch: int, batches: Iterator[IndexBatch]) -> Drawn:
        def fill(fed: Fed, batch: IndexBatch, rows: range) -> None:
            self._fill(fed, batch, epoch, rows)

        line = self._idle.pop() if self._idle else self._line()
        # The rows of a store are only looked up: on a CPU, threads for that would just get in DALI's way.
        threads = 0 if self.table.source == "prepared" and self.device.type == "cpu" else self.threads
        reading = prepared_ahead(batches, self._begin, fill, threads=threads, prefetch=self.prefetch + 1)
        with closing(reading):
            line.start(reading)
            try:
                while (drawn := line.next()) is not None:
                    batch, fed, images = drawn
                    if images is None:
                        images = self._drawn_here(batch, fed, epoch)
                    if fed.curves is not None:
                        images = change_grey_levels(images, fed.curves)
                    yield batch, images, fed.failed
            finally:
                line.finish()
                self._idle = [line]

    def _line(self) -> DaliLine:
        def build(source: Source, prefetch: int) -> DaliGraph:
            return DaliGraph(
                source,
                self.recipe.size,
                self.index_sampler.batch_size,
                threads=self.threads + 1,  # one more fills the gaps between operators (7 % on two cores)
                device=self.device,
                prefetch=prefetch,
            )

        return DaliLine(build, self.prefetch)

    def _begin(self, batch: IndexBatch) -> Fed:
        recipe, count = self.recipe, len(batch.indices)
        changes = self.index_sampler.training and any((recipe.brightness, recipe.contrast, recipe.gamma))
        return Fed([black()] * count, np.empty((count, 256), np.uint8) if changes else None, set())

    def _fill(self, fed: Fed, batch: IndexBatch, epoch: int, rows: range) -> None:
        for row, image, view in opened(self.table, self.recipe, self.index_sampler, epoch, batch, rows):
            index = int(batch.indices[row])
            try:
                if isinstance(image, DataError):
                    raise image
                if index in self._refused:
                    image = replace(image, encoded=None)
                fed.feeds[row] = feed_of(image, view, self.recipe.size)
            except DataError as error:
                self._fail(index, error)
                fed.failed.add(row)
            if fed.curves is not None:
                fed.curves[row] = view.curve

    def _drawn_here(self, batch: IndexBatch, fed: Fed, epoch: int) -> torch.Tensor:
        """The pictures of a batch that DALI refused, before the change of grey levels; uint8 [B, 1, S, S]."""
        size, rows = self.recipe.size, range(len(batch.indices))
        images = torch.zeros((len(rows), 1, size, size), dtype=torch.uint8)
        for row, image, view in opened(self.table, self.recipe, self.index_sampler, epoch, batch, rows):
            index = int(batch.indices[row])
            self._refused.add(index)
            try:
                if isinstance(image, DataError):
                    raise image
                images.numpy()[row, 0] = render(image, View(view.matrix), size)
            except DataError as error:
                self._fail(index, error)
                fed.failed.add(row)
        return images.to(self.device)
