"""The images that a spec names, as tables of samples whose boxes have the classes of the spec."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.formats.kitti import read_kitti
from xraycls.data.formats.tfrecords import read_tfrecords
from xraycls.data.headers import picture_headers
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.evaluation.detection.cases import ImageBoxes, rounded
from xraycls.loaders.objects import ObjectTable, on_canvas
from xraycls.tao.ssd_config import Source, SSDData, SSDSetup
from xraycls.types import Box, Sample, Split

logger = logging.getLogger(__name__)

_NAMED = 5


@dataclass(frozen=True, slots=True)
class DetectionData:
    """What a detector trains on and is validated with.

    Attributes:
        table: all samples, in the splits "train" and "val"; boxes have names of ``classes``.
        classes: of objects, without the background.
    """

    table: SampleTable
    classes: tuple[str, ...]

    @property
    def training(self) -> SampleTable:
        """The samples to train on."""
        return self.table.split("train")

    @property
    def validation(self) -> SampleTable:
        """The samples to validate with; may be empty."""
        return self.table.split("val")


def read_data(setup: SSDSetup, *, strict: bool = False) -> DetectionData:
    """The data of a spec.

    Labels are compared in small letters and mapped; those that the mapping lacks are no objects, and a warning counts
    them.

    Raises:
        DataError: labels, records or images that can't be read, a validation fold that no file has, or no object at
            all to train on.
    """
    data = setup.data
    found = [*_samples(data.training, data, None), *_samples(data.validation, data, "val")]
    if not found:
        raise DataError("The spec names no images")
    unknown: Counter[str] = Counter()
    mapped = [replace(sample, boxes=tuple(_mapped(sample.boxes, data, unknown))) for sample in found]
    if unknown:
        listed = ", ".join(f"{name} ({count:,})" for name, count in unknown.most_common())
        logger.warning("Labels that target_class_mapping lacks are left out: %s.", listed)
    root = next(source.images or source.labels or source.records for source in data.training)
    table = SampleTable(tuple(mapped), ("NEGATIVE", "POSITIVE"), root or Path(), source="tao")
    if not any(sample.boxes for sample in table.split("train")):
        given = f"; the labels are {', '.join(unknown)}" if unknown else ""
        raise DataError(
            f"None of the {len(table.split('train')):,} training images has an object of the classes "
            f"{', '.join(data.classes)}{given}",
            table.root,
            "The keys of target_class_mapping must be the labels in small letters",
        )
    return DetectionData(table, data.classes)


def picture_sizes(table: SampleTable) -> npt.NDArray[np.float64]:
    """Width and height of every picture, [n, 2]; 1 × 1 for one that can't be read."""
    headers = picture_headers(table.samples)
    return np.array([(1, 1) if isinstance(h, DataError) else (h.width, h.height) for h in headers], np.float64)


def truths_of(setup: SSDSetup, table: SampleTable) -> list[ImageBoxes]:
    """The boxes of every picture in pixels of the network's input, rounded and clipped as TAO's evaluation does."""
    objects = ObjectTable(table, setup.data.classes, setup.recipe.seen)
    matrices = setup.recipe.evaluation_views(picture_sizes(table)).matrices
    canvas = setup.recipe.canvas
    truths = []
    for boxes, labels, difficult, matrix in zip(
        objects.boxes, objects.labels, objects.difficult, matrices, strict=True
    ):
        seen = on_canvas(boxes, np.repeat(matrix[None], len(boxes), axis=0))
        truths.append(ImageBoxes.of(rounded(seen, canvas.width, canvas.height), labels, difficult))
    return truths


def tell_small_boxes(setup: SSDSetup, table: SampleTable) -> None:
    """Warn of training boxes that are too small on the network's input for the spec to keep."""
    least = getattr(setup.recipe, "smallest", (0.0, 0.0))
    canvas = setup.recipe.canvas
    scale = np.array([canvas.width, canvas.height]) / picture_sizes(table)
    small = [
        box
        for sample, (across, down) in zip(table, scale, strict=True)
        for box in sample.boxes
        if (box.right - box.left) * across < least[0] or (box.bottom - box.top) * down < least[1]
    ]
    if small:
        logger.warning("%d boxes are below the least size of the spec and are left out of training.", len(small))


def _samples(sources: Sequence[Source], data: SSDData, split: Split | None) -> Iterable[Sample]:
    for source in sources:
        if source.records is not None:
            fold = data.validation_fold if split is None else None
            extension = data.image_extension or None
            read = partial(read_tfrecords, extension=extension, validation_fold=fold, class_names=data.classes)
            table = read(source.records, images=source.images)
        elif source.labels is not None:
            table = read_kitti(source.labels, images=source.images)
        else:
            continue
        for sample in table:
            yield replace(sample, split=split or sample.split or "train")


def _mapped(boxes: Iterable[Box], data: SSDData, unknown: Counter[str]) -> Iterable[Box]:
    for box in boxes:
        name = data.mapping.get(box.label.lower())
        if name is None:
            unknown[box.label] += 1
        else:
            yield replace(box, label=name)
