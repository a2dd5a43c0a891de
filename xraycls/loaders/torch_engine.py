"""The torch engine: a DataLoader whose workers are threads.

OpenCV releases the GIL while it decodes and warps, so threads decode in parallel without the copies between
processes, the start-up time and the shared-memory limits of worker processes.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from xraycls.data.image import GreyImage, open_image
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.recipe import Recipe, View
from xraycls.loaders.render import render
from xraycls.loaders.sampler import IndexBatch, Sampler
from xraycls.types import Batch

logger = logging.getLogger(__name__)

_CHUNK = 8  # images a task: long enough to make hand-over free, short enough to share the last batch


class _Pending(NamedTuple):
    """The memory of a batch while threads fill it."""

    images: torch.Tensor
    weights: torch.Tensor


class PictureSet(Dataset[GreyImage]):
    """A table's samples as evaluation pictures: ``pictures[i]`` is uint8 [size, size]."""

    def __init__(self, table: SampleTable, recipe: Recipe) -> None:
        self.table = table
        self.recipe = recipe

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> GreyImage:
        return self.draw(index)

    def draw(self, index: int, seed: int = 0, epoch: int = 0, position: int | None = None) -> GreyImage:
        """The evaluation picture, or with a position the training picture; raises DataError."""
        image = open_image(self.table[index])
        if position is None:
            view: View = self.recipe.evaluation_view(image.width, image.height)
        else:
            view = self.recipe.training_view(seed, epoch, position, image.width, image.height)
        return render(image, view, self.recipe.size)


class TorchLoader(DataLoader[GreyImage]):
    """Batches of pictures, decoded by threads ahead of the model.

    ``len(loader)``, ``for batch in loader`` and ``loader.dataset`` are as with any DataLoader; ``set_epoch`` chooses
    the epoch and the batch to start from. A picture that can't be read becomes a black one of weight 0 and is noted
    in ``failures``.

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch; its ``training`` selects training views.
        threads: decoding threads; 0 decodes in the calling thread.
        prefetch: batches prepared ahead of the model.
        pin_memory: page-locked batches, for copies to a GPU that don't block.
        strict: raise DataError for a picture that can't be read.
    """

    def __init__(
        self,
        table: SampleTable,
        recipe: Recipe,
        sampler: Sampler,
        *,
        threads: int = 2,
        prefetch: int = 3,
        pin_memory: bool = False,
        strict: bool = False,
    ) -> None:
        self.pictures = PictureSet(table, recipe)
        self.index_sampler = sampler
        self.threads = threads
        self.prefetch = prefetch
        self.pinned = pin_memory
        self.strict = strict
        self.labels = torch.from_numpy(table.labels)
        self.failures: dict[Path, str] = {}
        self._lock = threading.Lock()
        super().__init__(self.pictures, batch_sampler=sampler)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch that the next ``for`` goes through, and the batch it starts from."""
        self.index_sampler.epoch, self.index_sampler.start = epoch, start

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        cv2.setNumThreads(1)  # parallel over pictures; OpenCV's own threads inside each would only get in the way
        epoch = self.index_sampler.epoch
        batches = iter(self.index_sampler)
        if self.threads == 0:
            for batch in batches:
                pending = self._allocate(batch)
                self._fill(pending, batch, epoch, range(len(batch.indices)))
                yield self._finish(pending, batch)
            return
        with ThreadPoolExecutor(self.threads, thread_name_prefix="xraycls-decode") as pool:
            queue: deque[tuple[IndexBatch, _Pending, list[Future[None]]]] = deque()
            try:
                for batch in islice(batches, self.prefetch):
                    queue.append(self._submit(pool, batch, epoch))
                while queue:
                    batch, pending, tasks = queue.popleft()
                    for task in tasks:
                        task.result()
                    queue.extend(self._submit(pool, upcoming, epoch) for upcoming in islice(batches, 1))
                    yield self._finish(pending, batch)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self, pool: ThreadPoolExecutor, batch: IndexBatch, epoch: int
    ) -> tuple[IndexBatch, _Pending, list[Future[None]]]:
        pending = self._allocate(batch)
        count = len(batch.indices)
        chunks = (range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK))
        return batch, pending, [pool.submit(self._fill, pending, batch, epoch, rows) for rows in chunks]

    def _allocate(self, batch: IndexBatch) -> _Pending:
        size = self.pictures.recipe.size
        return _Pending(
            torch.empty((len(batch.indices), 1, size, size), dtype=torch.uint8, pin_memory=self.pinned),
            torch.tensor(batch.weights),
        )

    def _fill(self, pending: _Pending, batch: IndexBatch, epoch: int, rows: range) -> None:
        for row in rows:
            index = int(batch.indices[row])
            position = int(batch.positions[row]) if self.index_sampler.training else None
            try:
                picture = self.pictures.draw(index, self.index_sampler.seed, epoch, position)
            except DataError as error:
                if self.strict:
                    raise
                self._note(self.pictures.table[index].path, error)
                pending.weights.numpy()[row] = 0.0
                picture = np.zeros((self.pictures.recipe.size,) * 2, np.uint8)
            pending.images.numpy()[row, 0] = picture

    def _finish(self, pending: _Pending, batch: IndexBatch) -> Batch:
        indices = torch.from_numpy(batch.indices)
        return Batch(pending.images, self.labels[indices], indices, pending.weights)

    def _note(self, path: Path, error: DataError) -> None:
        with self._lock:
            if path not in self.failures:
                logger.warning("%s; it is left out.", error.message)
            self.failures[path] = error.message
