"""The DALI engine: files are read here, decoded and drawn by DALI on the GPU or, without one, on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.cache import PictureCache, is_decoded
from xraycls.loaders.dali_feed import Feed, black, feeds_of, packed
from xraycls.loaders.dali_graph import DaliGraph, GraphFailure, Pictures
from xraycls.loaders.dali_pipeline import DaliPipeline, Fed
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.photometric import change_grey_levels
from xraycls.loaders.pictures import Opened, opened
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.prefetch import prefetched
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import draw
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Canvas, View

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
        draws_here: draw pictures of formats that DALI doesn't know, and those larger than their view needs, as the
            torch engine does. None does so on a CPU only: DALI's decoders know nothing but full size there, and its
            warp takes five times as long.
        objects: what is to be found in the pictures.
        strict: raise DataError for a picture that can't be read.
        cache: of decoded pictures.

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
        draws_here: bool | None = None,
        objects: ObjectTable | None = None,
        strict: bool = False,
        cache: PictureCache | None = None,
    ) -> None:
        super().__init__(table, recipe, sampler, objects=objects, strict=strict)
        self.device = device
        self.threads = threads
        self.cache = cache
        self.prefetch = prefetch
        self.draws_here = device.type == "cpu" if draws_here is None else draws_here
        self._refused: set[int] = set()
        self._idle = [self._pipeline()]  # graphs take time to build: one waits for the next epoch

    def _draw(self, plans: Iterator[BatchPlan]) -> Drawn:
        pipeline = self._idle.pop() if self._idle else self._pipeline()
        reading = prefetched(
            plans,
            self._begin,
            self._fill,
            threads=self.threads,
            prefetch=self.prefetch + 1,
            is_light=is_decoded(self.table, self.cache),
        )
        with closing(reading):
            pipeline.start(reading)
            try:
                while (drawn := pipeline.next()) is not None:
                    plan, fed, pictures = drawn
                    if pictures is None:
                        pictures = self._drawn_singly(plan, fed)
                    if fed.curves is not None:
                        pictures = change_grey_levels(pictures, fed.curves)
                    yield plan, composed(plan, pictures, fed.failed), fed.failed
            finally:
                pipeline.finish()
                self._idle = [pipeline]

    def _pipeline(self) -> DaliPipeline:
        pictures = self.recipe.pictures if self.index_sampler.training else 1
        return DaliPipeline(self._builder(self.index_sampler.batch_size * pictures), self.prefetch)

    def _builder(self, batch_size: int) -> Callable[..., DaliGraph]:
        """Makes graphs of a source and a ``prefetch``, without holding this loader alive."""
        return partial(
            DaliGraph,
            fill=self.recipe.canvas.fill,
            batch_size=batch_size,
            threads=self.threads + 1,  # one more fills the gaps between operators (7 % on two cores)
            device=self.device,
        )

    def _begin(self, plan: BatchPlan) -> Fed:
        count = len(plan.pictures)
        changes = self.index_sampler.training and self.recipe.changes_greys
        nothing = black(plan.canvas.shape)
        return Fed([nothing] * count, np.empty((count, 256), np.uint8) if changes else None, set())

    def _fill(self, fed: Fed, plan: BatchPlan, rows: range) -> None:
        parts, images, views = self._opened(plan, rows)
        samples = plan.pictures[parts.start : parts.stop].tolist()
        for number, (sample, image) in enumerate(zip(samples, images, strict=True)):
            if sample in self._refused and not isinstance(image, DataError):
                images[number] = replace(image, encoded=None)
        feeds = feeds_of(images, views, plan.canvas, draws_here=self.draws_here)
        for part, sample, feed in zip(parts, samples, feeds, strict=True):
            if isinstance(feed, DataError):
                self._fail(sample, feed)
                fed.failed.add(part)
            else:
                fed.feeds[part] = feed
        if fed.curves is not None:
            fed.curves[parts.start : parts.stop] = views.curves

    def _opened(self, plan: BatchPlan, rows: range) -> Opened:
        return opened(self.table, plan, self.index_sampler, rows, self.objects, self.cache)

    def _drawn_singly(self, plan: BatchPlan, fed: Fed) -> list[torch.Tensor]:
        """The pictures of a batch that DALI refused, before the change of grey levels; uint8 [1, H, W] each.

        Only the picture that is at fault is drawn without DALI, so that the others stay what they always are.
        """
        rows = range(len(plan.batch.indices))
        pictures, reasons = [], []
        for part, image, view in zip(*self._opened(plan, rows), strict=True):
            try:
                pictures.append(self._alone(fed.feeds[part]))
            except GraphFailure as failure:
                reasons.append(str(failure))
                sample = int(plan.pictures[part])
                self._refused.add(sample)
                picture = np.zeros(fed.feeds[part].size, np.uint8)
                try:
                    if isinstance(image, DataError):
                        raise image
                    alone = Canvas(*picture.shape, fill=plan.canvas.fill)
                    draw(image, View(view.on_target().matrix), alone, picture)
                except DataError as error:
                    self._fail(sample, error)
                    fed.failed.add(part)
                pictures.append(torch.from_numpy(picture)[None].to(self.device))
        if len(reasons) == len(plan.pictures) > 1:
            logger.warning("DALI refuses every picture of a batch, so OpenCV draws it: %s", reasons[0])
        return pictures

    def _alone(self, feed: Feed) -> torch.Tensor:
        """One picture by a graph of its own, uint8 [1, H, W]; raises GraphFailure."""
        feeds = iter([packed([feed])])
        drawn = self._builder(1)(lambda: next(feeds), prefetch=1).run()
        if drawn is None:
            raise GraphFailure("no picture came out", out_of_memory=False)
        return drawn[0]


def composed(plan: BatchPlan, pictures: Pictures, failed: Collection[int]) -> torch.Tensor:
    """The samples of a batch from the pictures that fill them, uint8 [B, 1, H, W].

    Args:
        plan: where each picture goes.
        pictures: of the sizes of their targets; any size for those that could not be read.
        failed: the numbers of those.
    """
    if plan.is_whole:
        return torch.stack(pictures) if isinstance(pictures, list) else pictures
    fill, shape = plan.canvas.fill, (len(plan.batch.indices), 1, *plan.canvas.shape)
    images = torch.full(shape, fill or 0, dtype=torch.uint8, device=pictures[0].device)
    for row, (first, end) in enumerate(pairwise(plan.starts.tolist())):
        drawn = [part for part in range(first, end) if part not in failed]
        if fill is None and drawn:
            levels = torch.cat([pictures[part].flatten() for part in drawn])
            images[row] = levels.to(torch.float32).mean().round().to(torch.uint8)
        for part in drawn:
            left, top, right, bottom = plan.targets[part].tolist()
            images[row, :, top:bottom, left:right] = pictures[part]
    return images
