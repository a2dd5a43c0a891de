"""The DALI engine: files are read here, decoded and drawn by DALI on the GPU or, without one, on the CPU."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.table import SampleTable
from xraycls.errors import DataError, XrayclsError
from xraycls.loaders.ahead import prepared_ahead
from xraycls.loaders.dali_feed import Feed, black, feed_of
from xraycls.loaders.dali_graph import DaliGraph, GraphFailure
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.photometric import change_grey_levels
from xraycls.loaders.pictures import opened
from xraycls.loaders.recipe import Recipe
from xraycls.loaders.render import render
from xraycls.loaders.sampler import IndexBatch, Sampler
from xraycls.loaders.views import View

logger = logging.getLogger(__name__)


class _Pending(NamedTuple):
    """A batch while threads read it: a feed and a grey curve a picture, and the rows that could not be read."""

    feeds: list[Feed]
    curves: npt.NDArray[np.uint8] | None
    failed: set[int]


class _Queue:
    """Hands batches to the graph and remembers those that it has not drawn yet."""

    def __init__(self) -> None:
        self.coming: Iterator[tuple[IndexBatch, _Pending]] = iter(())
        self.in_work: deque[tuple[IndexBatch, _Pending]] = deque()
        self.error: Exception | None = None

    def start(self, coming: Iterator[tuple[IndexBatch, _Pending]]) -> None:
        """Begin an epoch."""
        self.coming, self.error = coming, None
        self.in_work.clear()

    def rewind(self) -> None:
        """Hand over once more what was not drawn."""
        self.coming = chain(tuple(self.in_work), self.coming)
        self.in_work = deque()

    def __call__(self) -> tuple[Sequence[Any], ...]:
        """The next feeds, field by field. An error waits until the batches before it are drawn."""
        try:
            item = next(self.coming)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from error
        self.in_work.append(item)
        return tuple(list(field) for field in zip(*item[1].feeds, strict=True))


class DaliLoader(Engine):
    """Batches of pictures drawn by NVIDIA DALI.

    The graph receives bytes and numbers only, so its pictures are those of every other engine. What DALI can't decode
    is decoded here; a batch that it refuses is drawn here, and its files are decoded here from then on.

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch.
        device: a CUDA device, or a CPU for DALI's CPU operators.
        threads: for reading, and as many of DALI's own.
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
        self._queue = _Queue()
        self._graph: DaliGraph | None = self._built()

    def _draw(self, epoch: int, batches: Iterator[IndexBatch]) -> Drawn:
        def fill(pending: _Pending, batch: IndexBatch, rows: range) -> None:
            self._fill(pending, batch, epoch, rows)

        reading = prepared_ahead(batches, self._begin, fill, threads=self.threads, prefetch=self.prefetch + 1)
        with closing(reading):
            self._queue.start(reading)
            try:
                while True:
                    graph = self._graph = self._graph or self._built()
                    try:
                        images = graph.run()
                    except GraphFailure as failure:
                        self._graph = None
                        images = self._after(failure, epoch)
                        if images is None:
                            continue
                    if images is None:
                        break
                    batch, pending = self._queue.in_work.popleft()
                    if pending.curves is not None:
                        images = change_grey_levels(images, pending.curves)
                    yield batch, images, pending.failed
                if self._queue.error:
                    raise self._queue.error
            finally:
                self._drain()

    def _built(self) -> DaliGraph:
        """A graph that goes on with the batches that are not drawn yet."""
        self._queue.rewind()
        return DaliGraph(
            self._queue,
            self.recipe.size,
            self.index_sampler.batch_size,
            threads=self.threads,
            device=self.device,
            prefetch=self.prefetch,
        )

    def _drain(self) -> None:
        """End an epoch that was left early: the graph must see the end of one before it begins the next."""
        self._queue.coming = iter(())
        try:
            while self._graph and self._graph.in_epoch:
                self._graph.run()
        except GraphFailure:
            self._graph = None
        self._queue.start(iter(()))

    def _begin(self, batch: IndexBatch) -> _Pending:
        count = len(batch.indices)
        curves = np.empty((count, 256), np.uint8) if self._is_photometric else None
        return _Pending([black()] * count, curves, set())

    @property
    def _is_photometric(self) -> bool:
        recipe = self.recipe
        return self.index_sampler.training and any((recipe.brightness, recipe.contrast, recipe.gamma))

    def _fill(self, pending: _Pending, batch: IndexBatch, epoch: int, rows: range) -> None:
        for row, image, view in opened(self.table, self.recipe, self.index_sampler, epoch, batch, rows):
            index = int(batch.indices[row])
            try:
                if isinstance(image, DataError):
                    raise image
                if index in self._refused:
                    image = replace(image, encoded=None)
                pending.feeds[row] = feed_of(image, view, self.recipe.size)
            except DataError as error:
                self._fail(index, error)
                pending.failed.add(row)
            if pending.curves is not None:
                pending.curves[row] = view.curve

    def _after(self, failure: GraphFailure, epoch: int) -> torch.Tensor | None:
        """The pictures of a batch that DALI refused, drawn here without their grey curves; None to try it again."""
        if failure.out_of_memory:
            if self.prefetch == 1:
                raise MemoryError(f"out of memory in DALI: {failure}") from failure
            logger.warning("DALI ran out of memory; it now keeps one batch in work instead of %d.", self.prefetch)
            self.prefetch = 1
            return None
        if not self._queue.in_work:
            raise XrayclsError(f"DALI does not work here: {failure}", "Take --loader torch") from failure
        logger.debug("DALI refused a batch, which is drawn without it: %s", failure)
        batch, pending = self._queue.in_work[0]
        size, sampler = self.recipe.size, self.index_sampler
        images = torch.zeros((len(batch.indices), 1, size, size), dtype=torch.uint8)
        for row, image, view in opened(self.table, self.recipe, sampler, epoch, batch, range(len(images))):
            index = int(batch.indices[row])
            self._refused.add(index)
            try:
                if isinstance(image, DataError):
                    raise image
                images.numpy()[row, 0] = render(image, View(view.matrix), size)
            except DataError as error:
                self._fail(index, error)
                pending.failed.add(row)
        return images.to(self.device)
