"""Boxes on their way to the model: where a picture's objects lie in what is seen of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.table import SampleTable
from xraycls.loaders.outlines import Rings, box_ring, drawn, rings_on_canvas
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.views import Floats
from xraycls.types import Box, Objects


class ObjectTable:
    """The objects of a table's pictures.

    Args:
        table: samples whose boxes are in pixels of the source.
        classes: names of the objects to find; boxes of other labels are left out.
        outlines: whether the objects of a batch have masks, where the outline of any object of the table is known.

    Attributes:
        boxes: of each sample, float64 [n, 4]: left, top, right, bottom in pixels of the source.
        labels: of each sample, int64 [n], indices of ``classes``.
        difficult: of each sample, bool [n].
        rings: of each sample, the outline of each object in pixels of the source, empty where it isn't known; None
            where no mask is wanted.
    """

    def __init__(self, table: SampleTable, classes: Sequence[str], *, outlines: bool = False) -> None:
        index = {name: label for label, name in enumerate(classes)}
        known = [[box for box in sample.boxes if box.label in index] for sample in table]
        self.boxes: list[Floats] = [
            np.array([(b.left, b.top, b.right, b.bottom) for b in boxes], np.float64).reshape(-1, 4) for boxes in known
        ]
        self.labels = [np.array([index[box.label] for box in boxes], np.int64) for boxes in known]
        self.difficult = [np.array([box.difficult for box in boxes], np.bool_) for boxes in known]
        drawn_ones = outlines and any(box.outline for boxes in known for box in boxes)
        self.rings = [list(map(_rings, boxes)) for boxes in known] if drawn_ones else None

    def clipped(self, plan: BatchPlan, training: bool, failed: Collection[int] = ()) -> Objects:
        """The objects of a batch as its views show them; none for pictures that could not be read.

        A box of a picture that fills a part of the canvas is first cut to that part.

        Args:
            plan: with its views noted; its recipe clips the boxes.
            training: whether the views are those of training.
            failed: numbers of pictures of the plan that could not be read.
        """
        lost = set(plan.failed_rows(failed))
        parts = [part for part, row in enumerate(plan.owners.tolist()) if part not in failed and row not in lost]
        samples = plan.pictures[parts].tolist()
        part = np.repeat(np.array(parts, np.int64), [len(self.labels[sample]) for sample in samples])
        owner = plan.owners[part]
        boxes = on_canvas(
            _joined([self.boxes[s] for s in samples], 4), plan.matrices[part], inscribed=plan.recipe.inscribed
        )
        if not plan.is_whole:
            targets = plan.targets[part]
            boxes = np.clip(boxes, np.tile(targets[:, :2], 2), np.tile(targets[:, 2:], 2))
        boxes, kept = plan.recipe.clip(boxes, training, plan.cropped[part])
        rings = None if self.rings is None else [each for sample in samples for each in self.rings[sample]]
        return Objects(
            boxes=torch.from_numpy(boxes[kept].astype(np.float32)),
            labels=torch.from_numpy(_joined([self.labels[s] for s in samples]).astype(np.int64)[kept]),
            owners=torch.from_numpy(owner[kept]),
            difficult=torch.from_numpy(_joined([self.difficult[s] for s in samples]).astype(np.bool_)[kept]),
            masks=None if rings is None else _masks(rings, boxes, plan, part, kept),
        )


def _rings(box: Box) -> Rings:
    """The outline of an object in pixels of the source."""
    corner, sides = (box.left, box.top), (box.right - box.left, box.bottom - box.top)
    return [np.array(ring, np.float64) * sides + corner for ring in box.outline]


def _masks(
    rings: Sequence[Rings], boxes: Floats, plan: BatchPlan, part: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
) -> torch.Tensor:
    """What the objects of a batch that remain cover of their pictures; of one without an outline, its box."""
    shown = [
        rings_on_canvas(rings[row], plan.matrices[part[row]]) if rings[row] else [box_ring(boxes[row])]
        for row in np.flatnonzero(kept).tolist()
    ]
    masks = drawn(shown, plan.canvas)
    for mask, (left, top, right, bottom) in zip(masks, plan.targets[part[kept]].tolist(), strict=True):
        mask[:top] = mask[bottom:] = mask[:, :left] = mask[:, right:] = 0  # what another picture fills of a canvas
    return torch.from_numpy(masks)


def on_canvas(boxes: Floats, matrices: Floats, *, inscribed: bool = False) -> Floats:
    """Boxes of the source where views show them: float64 [n, 4]; the box around what a rotation makes of one.

    Args:
        boxes: [n, 4], pixels of the source.
        matrices: [n, 2, 3], of the view of each.
        inscribed: whether that is the box around the ellipse in each box, which rotations don't enlarge, instead of
            the one around its corners.
    """
    if inscribed and len(boxes):
        inverse = np.linalg.inv(matrices[:, :, :2])
        centres = np.einsum("nij,nj->ni", inverse, (boxes[:, :2] + boxes[:, 2:]) / 2 - matrices[:, :, 2])
        axes = inverse * ((boxes[:, 2:] - boxes[:, :2]) / 2)[:, None, :]
        reach = np.sqrt((axes**2).sum(axis=2))
        return np.concatenate([centres - reach, centres + reach], axis=1)
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] - matrices[:, None, :, 2]
    moved = np.linalg.solve(matrices[:, None, :, :2], corners[..., None])[..., 0] if len(boxes) else corners
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def on_source(boxes: Floats, matrices: Floats) -> Floats:
    """Boxes of the canvas where they lie in the source: float64 [n, 4]; the inverse of :func:`on_canvas`.

    Args:
        boxes: [n, 4], pixels of the canvas.
        matrices: [n, 2, 3], of the view of each.
    """
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    moved = np.einsum("nij,nkj->nki", matrices[:, :, :2], corners) + matrices[:, None, :, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def _joined(arrays: Sequence[npt.NDArray[np.generic]], columns: int | None = None) -> npt.NDArray[np.float64]:
    shape = (0,) if columns is None else (0, columns)
    return np.concatenate(arrays) if arrays else np.zeros(shape)
