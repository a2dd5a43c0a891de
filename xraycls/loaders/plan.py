"""What a batch is drawn from: which pictures, seen how, and where each of them goes on the canvas."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.sampler import IndexBatch
from xraycls.loaders.views import Canvas, Floats, Views, whole

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """One batch, and the pictures that it is drawn from.

    A mosaic takes several pictures a sample, all others one. Which they are is known at once; how they are seen, only
    when their sizes are.

    Attributes:
        batch: the samples.
        recipe: of this batch; its canvas may differ from that of the next.
        epoch: of the batch.
        pictures: int64 [p], rows of the sample table.
        owners: int64 [p], the row of the batch that each picture is a part of; rising.
        starts: int64 [B + 1], where the pictures of each row of the batch begin: its own one comes first.
        matrices: float64 [p, 2, 3], as :attr:`xraycls.loaders.views.View.matrix`; filled in by :meth:`note`.
        targets: int64 [p, 4], left, top, right and bottom of what each picture fills of the canvas; filled in likewise.
        cropped: bool [p], whether each is seen through a random crop; filled in likewise.
    """

    batch: IndexBatch
    recipe: ViewRecipe
    epoch: int
    pictures: Indices
    owners: Indices
    starts: Indices
    matrices: Floats
    targets: Indices
    cropped: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, batch: IndexBatch, recipe: ViewRecipe, epoch: int, sources: Indices) -> BatchPlan:
        """The plan of a batch whose views are still to be drawn.

        Args:
            batch: the samples.
            recipe: of this batch.
            epoch: of the batch.
            sources: int64 [B, k], the rows of the table that make up each sample, -1 where there are fewer than k.
        """
        used = sources >= 0
        starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
        count, rows = int(starts[-1]), np.arange(len(sources))
        owners = np.repeat(rows, np.diff(starts))
        targets = np.tile(np.array(whole(recipe.canvas), np.int64), (count, 1))
        cropped = np.zeros(count, np.bool_)
        return cls(batch, recipe, epoch, sources[used], owners, starts, np.zeros((count, 2, 3)), targets, cropped)

    @property
    def canvas(self) -> Canvas:
        """What the samples of this batch are drawn on."""
        return self.recipe.canvas

    @property
    def is_whole(self) -> bool:
        """Whether every sample is one picture that fills its canvas."""
        return len(self.pictures) == len(self.batch.indices) and bool((self.targets == whole(self.canvas)).all())

    def parts(self, rows: range) -> range:
        """The numbers of the pictures that consecutive rows of the batch are drawn from."""
        return range(int(self.starts[rows.start]), int(self.starts[rows.stop]))

    def note(self, parts: range, views: Views) -> None:
        """Keep where the views of some pictures lead, for their boxes."""
        at = slice(parts.start, parts.stop)
        self.matrices[at] = views.matrices
        if views.targets is not None:
            self.targets[at] = views.targets
        if views.cropped is not None:
            self.cropped[at] = views.cropped

    def views(self, seed: int, rows: range, sizes: npt.ArrayLike, boxes: Sequence[Floats], *, training: bool) -> Views:
        """The views of the pictures of consecutive rows of the batch.

        Args:
            seed: of the run.
            rows: of the batch.
            sizes: [n, 2], width and height of each picture in pixels.
            boxes: of each picture, [m, 4] in pixels of it; empty where there are none to keep in sight.
            training: whether training views are meant.
        """
        if not training:
            return self.recipe.evaluation_views(sizes)
        first = int(self.batch.positions[rows.start])
        parts = self.parts(rows)
        owners = self.owners[parts.start : parts.stop] - rows.start
        return self.recipe.training_views(seed, self.epoch, first, sizes, boxes, owners)

    def failed_rows(self, failed: Collection[int]) -> list[int]:
        """The rows of the batch whose own picture is among the ``failed`` ones; rising."""
        return [row for row, start in enumerate(self.starts[:-1].tolist()) if start in failed]
