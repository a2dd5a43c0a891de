"""The torch engine: a DataLoader whose workers are threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from xraycls.data.image import GreyImage
from xraycls.data.table import SampleTable
from xraycls.loaders.batch_memory import BatchMemory
from xraycls.loaders.cache import PictureCache, is_decoded
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.pictures import PictureSet, opened
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.prefetch import prefetched
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import draw_each, fill_around
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Rectangle, whole


class _Pending(NamedTuple):
    """A batch while threads fill it.

    Attributes:
        images: its samples, uint8 [B, 1, H, W].
        normalized: the same as the batch has them, float32 [B, C, H, W]; None where it has grey levels.
        failed: the pictures of its plan that could not be read.
    """

    images: torch.Tensor
    normalized: torch.Tensor | None
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
        cache: of decoded pictures.
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
        cache: PictureCache | None = None,
    ) -> None:
        Engine.__init__(self, table, recipe, sampler, objects=objects, strict=strict)
        self.threads = threads
        self.cache = cache
        self.prefetch = prefetch
        self.pinned = pin_memory
        self._memory = {dtype: BatchMemory(prefetch + 2) for dtype in (torch.uint8, torch.float32)}
        DataLoader.__init__(self, PictureSet(table, recipe), batch_sampler=sampler)  # type: ignore[arg-type]

    def _draw(self, plans: Iterator[BatchPlan]) -> Drawn:
        reading = prefetched(
            plans,
            self._begin,
            self._fill,
            threads=self.threads,
            prefetch=self.prefetch,
            is_light=is_decoded(self.table, self.cache),
        )
        with closing(reading):
            for plan, pending in reading:
                yield plan, pending.images if pending.normalized is None else pending.normalized, pending.failed

    def _begin(self, plan: BatchPlan) -> _Pending:
        count, shape, normalization = len(plan.batch.indices), plan.canvas.shape, self.normalization
        images = self._empty((count, 1, *shape), torch.uint8)
        if normalization is None:
            return _Pending(images, None, set())
        return _Pending(images, self._empty((count, normalization.channels, *shape), torch.float32), set())

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if self.pinned:  # torch itself uses such memory again, once copies to the GPU are done
            return torch.empty(shape, dtype=dtype, pin_memory=True)
        return self._memory[dtype].empty(shape, dtype)

    def _fill(self, pending: _Pending, plan: BatchPlan, rows: range) -> None:
        pictures = pending.images.numpy()[:, 0]
        parts, images, views = opened(self.table, plan, self.index_sampler, rows, self.objects, self.cache)
        owners = plan.owners[parts.start : parts.stop].tolist()
        failed = draw_each(images, views, plan.canvas, [pictures[row] for row in owners])
        for number, error in failed.items():
            self._fail(int(plan.pictures[parts[number]]), error)
            pending.failed.add(parts[number])
        if views.targets is not None or failed:
            filled: dict[int, list[Rectangle]] = {row: [] for row in rows}
            for number, row in enumerate(owners):
                if number not in failed:
                    filled[row].append(views[number].target or whole(plan.canvas))
            for row, targets in filled.items():
                fill_around(pictures[row], targets, plan.canvas)
        if self.normalization and pending.normalized is not None:
            chosen = slice(rows.start, rows.stop)
            self.normalization.write(pictures[chosen], pending.normalized.numpy()[chosen])
