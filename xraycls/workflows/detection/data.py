"""What a detector's data look like on the network's input."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.data.headers import picture_headers
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.evaluation.detection.cases import ImageBoxes, rounded_truth
from xraycls.loaders.objects import ObjectTable, on_canvas
from xraycls.loaders.recipes.detectnet import DetectNetRecipe
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.training.reporter import Reporter

logger = logging.getLogger(__name__)

_ABSENT = "average precision is 0 there and counts in the mean, as in TAO"
_UNREADABLE = 1.0  # pixels that a picture has each way which can't be read


def picture_sizes(table: SampleTable) -> npt.NDArray[np.float64]:
    """Returns width and height of every picture, [n, 2]; 1 × 1 for one that can't be read."""
    headers = picture_headers(table.samples)
    unreadable = (_UNREADABLE, _UNREADABLE)
    return np.array([unreadable if isinstance(h, DataError) else (h.width, h.height) for h in headers], np.float64)


def truths_of(table: SampleTable, classes: Sequence[str], recipe: ViewRecipe) -> list[ImageBoxes]:
    """Returns the boxes of every picture in pixels of the input, rounded and clipped as TAO's evaluation does."""
    canvas = recipe.canvas
    objects = ObjectTable(table, classes)
    matrices = recipe.evaluation_views(picture_sizes(table)).matrices
    truths = []
    for boxes, labels, difficult, matrix in zip(
        objects.boxes, objects.labels, objects.difficult, matrices, strict=True
    ):
        seen = on_canvas(boxes, np.repeat(matrix[None], len(boxes), axis=0))
        truths.append(rounded_truth(ImageBoxes.of(seen, labels, difficult), canvas.width, canvas.height))
    return truths


def check_pictures(recipe: ViewRecipe, table: SampleTable) -> None:
    """Raise DataError where there are fewer pictures to train on than one mosaic is made of."""
    if len(table) < recipe.pictures:
        raise DataError(
            f"A mosaic is made of {recipe.pictures} pictures, and there are {len(table)} to train on",
            table.root,
            "Set mosaic_prob in the spec, or mosaic of the recipe, to 0, or give more pictures",
        )


def fitting_batch(size: int, table: SampleTable, processes: int, reporter: Reporter) -> int:
    """Returns a usual batch size, or, with a line that says so, as many pictures as each process has to train on."""
    most = max(len(table) // processes, 1)
    if size > most:
        reporter.message(f"The batch size is {most}, as there are fewer training images than the usual {size}.")
    return min(size, most)


def absent_classes(table: SampleTable, classes: Sequence[str]) -> list[str]:
    """Returns the classes that no picture has an object of."""
    present = {box.label for sample in table for box in sample.boxes}
    return [name for name in classes if name not in present]


def warn_of_absent(table: SampleTable, classes: Sequence[str], average: Mapping[str, float] | None = None) -> None:
    """Log the classes without ground truth, and the mean of average precision over the others where it is known."""
    absent = absent_classes(table, classes)
    if not absent or not len(table):
        return
    others = [value for name, value in (average or {}).items() if name not in absent]
    mean = f"; over the other classes the mean is {sum(others) / len(others):.4f}" if others else ""
    logger.warning("No validation image has an object of %s: %s%s.", ", ".join(absent), _ABSENT, mean)


def count_learnable(recipe: ViewRecipe, classes: Sequence[str], table: SampleTable) -> int:
    """Returns how many objects of training pictures remain on the network's input; a warning counts the others.

    A warning also names the classes that no picture has an object of: they can't be learned. Another counts the
    pictures that are cut because a DetectNet recipe draws them at their own size.

    Raises:
        DataError: none remains.
    """
    absent = absent_classes(table, classes)
    if len(absent) < len(classes) and absent:
        logger.warning("No training picture has an object of the class %s: it can't be learned.", ", ".join(absent))
    sizes = picture_sizes(table)
    readable = [sample for sample, size in zip(table, sizes, strict=True) if size.max() > _UNREADABLE]
    if isinstance(recipe, DetectNetRecipe) and recipe.placement.cuts:
        _tell_cut(recipe, sizes)
    objects = ObjectTable(replace(table, samples=tuple(readable)), classes)
    counts = [len(boxes) for boxes in objects.boxes]
    matrices = recipe.evaluation_views(sizes[sizes.max(axis=1) > _UNREADABLE]).matrices
    boxes = on_canvas(np.concatenate([np.zeros((0, 4)), *objects.boxes]), np.repeat(matrices, counts, axis=0))
    kept = int(recipe.clip(boxes, True)[1].sum())
    if lost := len(boxes) - kept:
        least: Any = getattr(recipe, "smallest", (0.0, 0.0))  # of TLT 2
        what = f"{lost:,} of {len(boxes):,} objects lie outside their picture"
        hint = "Check that the labels belong to these pictures, and that they are in pixels"
        if max(least) > 0:
            canvas = recipe.canvas
            what += f", or are smaller than {least[0]:g} × {least[1]:g} pixels at {canvas.width} × {canvas.height}"
            hint = "Lower min_bbox_width and min_bbox_height in the spec, or raise --size"
        if not kept:
            raise DataError(what, table.root, hint)
        logger.warning("%s, and are left out of training.", what)
    return kept


def _tell_cut(recipe: DetectNetRecipe, sizes: npt.NDArray[np.float64]) -> None:
    """Warn of pictures that the input doesn't hold at the size that they have."""
    canvas = recipe.canvas
    _, regions = recipe.placement.regions(sizes)
    shown = regions / recipe.placement.factors(regions, canvas)
    if cut := int((shown > np.array([canvas.width, canvas.height]) + 0.5).any(axis=1).sum()):
        logger.warning(
            "%d of %d training pictures are larger than the input of %d × %d pixels and lose what lies at their right "
            "and bottom, as in TAO: set enable_auto_resize in preprocessing to stretch them.",
            cut,
            len(sizes),
            canvas.width,
            canvas.height,
        )
