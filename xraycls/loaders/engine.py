"""What every engine offers: epochs, shards and resumption by the sampler, and files that can't be read."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator
from contextlib import closing

import numpy as np
import torch

from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.normalization import Normalization
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.sampler import Sampler
from xraycls.types import Batch

logger = logging.getLogger(__name__)

Drawn = Generator[tuple[BatchPlan, torch.Tensor, Collection[int]], None, None]


class Engine(ABC):
    """Batches of a table's pictures, the same for every engine.

    The sampler says which samples form which batch and the recipe how they are seen; an engine only turns both into
    pixels. A ``for`` goes through the epoch of :meth:`set_epoch`; leaving it early costs nothing, the next ``for``
    starts afresh. A picture that can't be read is replaced by another one of its batch, counts nothing (weight 0) and
    is noted in ``failures``, by :attr:`~xraycls.types.Sample.name`.

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch; its ``training`` selects training views.
        objects: what is to be found in the pictures; None where that isn't the task.
        strict: raise DataError for a picture that can't be read.

    Attributes:
        normalization: of the batches, for networks that take no grey levels; None for uint8. It may be set until the
            first batch is asked for.
    """

    normalization: Normalization | None = None

    def __init__(
        self,
        table: SampleTable,
        recipe: ViewRecipe,
        sampler: Sampler,
        *,
        objects: ObjectTable | None = None,
        strict: bool = False,
    ) -> None:
        self.table = table
        self.recipe = recipe
        self.index_sampler = sampler
        self.objects = objects
        self.strict = strict
        self.labels = torch.from_numpy(table.labels)
        self.targets = torch.from_numpy(table.targets) if table.findings else None
        self.failures: dict[str, str] = {}
        self._noting = threading.Lock()
        self._delivered = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch that the next ``for`` goes through, and the batch that it starts from."""
        self.index_sampler.epoch, self.index_sampler.start = epoch, start
        self._delivered = start

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches the latest iteration has delivered."""
        return {"epoch": self.index_sampler.epoch, "batch": self._delivered}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next ``for`` yields exactly the batches that were still to come."""
        self.set_epoch(state["epoch"], state["batch"])

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.index_sampler)

    def __iter__(self) -> Iterator[Batch]:
        epoch, start = self.index_sampler.epoch, self.index_sampler.start
        self.index_sampler.start = 0  # only one ``for`` resumes in the middle
        self._delivered = start
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        with closing(self._draw(self._plans(epoch, start))) as drawn:
            for plan, images, failed in drawn:
                self._delivered += 1
                yield self._finished(plan, images, failed)

    def _plans(self, epoch: int, start: int) -> Iterator[BatchPlan]:
        """What the batches of an epoch are drawn from, from number ``start`` on."""
        sampler = self.index_sampler
        training = sampler.training
        pool = sampler.order(epoch) if training and self.recipe.pictures > 1 else np.zeros(0, np.int64)
        for batch in sampler.batches(epoch, start):
            recipe = self.recipe.for_batch(sampler.seed, epoch, batch.number) if training else self.recipe
            own, first = batch.indices, int(batch.positions[0])
            sources = recipe.sources(sampler.seed, epoch, first, own, pool) if training else own[:, None]
            yield BatchPlan.of(batch, recipe, epoch, sources)

    @abstractmethod
    def _draw(self, plans: Iterator[BatchPlan]) -> Drawn:
        """A generator of each plan, its samples, and which of its pictures could not be read.

        Samples are uint8 [B, 1, H, W]; an engine may normalise them itself.
        """

    def _finished(self, plan: BatchPlan, images: torch.Tensor, failed: Collection[int]) -> Batch:
        weights = torch.from_numpy(plan.batch.weights.copy())
        if rows := plan.failed_rows(failed):
            readable = next((row for row in range(len(weights)) if row not in rows), None)
            # Another picture of the batch keeps its statistics sound, which a black one would not.
            images[rows] = 0 if readable is None else images[readable].clone()
            weights[rows] = 0.0
        if self.normalization and images.dtype == torch.uint8:
            images = self.normalization(images)
        indices = torch.from_numpy(plan.batch.indices)
        objects = None if self.objects is None else self.objects.clipped(plan, self.index_sampler.training, failed)
        matrices = torch.from_numpy(plan.matrices[plan.starts[:-1]])
        targets = None if self.targets is None else self.targets[indices]
        return Batch(images, self.labels[indices], indices, weights, objects, matrices, targets)

    def _fail(self, index: int, error: DataError) -> None:
        """Note a sample that can't be read; raises the error where that is asked for. Any thread may call it."""
        if self.strict:
            raise error
        name = self.table[index].name
        with self._noting:
            if name not in self.failures:
                logger.warning("%s; it is left out.", error.message)
            self.failures[name] = error.message
