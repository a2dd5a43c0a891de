"""The images that a spec names, as tables of samples whose boxes have the classes of the spec."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.formats.kitti import DONT_CARE, read_kitti
from xraycls.data.formats.tfrecords import read_tfrecords
from xraycls.data.headers import picture_headers
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.evaluation.detection.cases import ImageBoxes, rounded_truth
from xraycls.loaders.objects import ObjectTable, on_canvas
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.views import Canvas
from xraycls.tao.ssd_config import Source, SSDData, SSDSetup
from xraycls.types import Box, Sample, Split

logger = logging.getLogger(__name__)

_UNREADABLE = 1.0  # pixels that a picture has each way which can't be read
_MOUNT = "Mend the spec, or say where the container's folder lies here: --mount /workspace/tlt-experiments=FOLDER"


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


def read_data(data: SSDData) -> DetectionData:
    """The data of a spec, to train on and to validate with.

    Labels are compared in small letters and mapped; those that the mapping lacks are no objects, and neither are boxes
    whose corners are the wrong way round. Warnings count both, and images that are in both splits.

    Raises:
        DataError: folders, labels, records or images that can't be read, a validation fold that no file has, or no
            object at all to train on.
    """
    found = [*_samples(data.training, data, None), *_samples(data.validation, data, "val")]
    mapped, unknown = _mapped(found, data)
    read = DetectionData(_table(mapped, data), data.classes)
    if not any(sample.boxes for sample in read.training):
        given = f"; the labels are {', '.join(unknown)}" if unknown else ""
        raise DataError(
            f"None of the {len(read.training):,} training images has an object of the classes "
            f"{', '.join(data.classes)}{given}",
            read.table.root,
            "The keys of target_class_mapping must be the labels in small letters",
        )
    if not len(read.validation):
        logger.warning("The spec names no validation images, so there will be no average precision.")
    both = {sample.path.resolve() for sample in read.training} & {sample.path.resolve() for sample in read.validation}
    if both:
        logger.warning("%d images are for training and for validation, which flatters average precision.", len(both))
    return read


def read_validation(data: SSDData) -> SampleTable:
    """The validation images of a spec, as :func:`read_data` reads them; what is for training alone isn't looked at.

    Raises:
        DataError: there are none, or they can't be read.
    """
    found = [*_samples(data.training, data, None), *_samples(data.validation, data, "val")]
    kept = [sample for sample in found if sample.split == "val"]
    if not kept:
        raise DataError("The spec names no validation images", None, "Give validation_data_sources or validation_fold")
    table = _table(_mapped(kept, data)[0], data)
    if not any(sample.boxes for sample in table):
        logger.warning("None of the %d validation images has an object, so there is nothing to find.", len(table))
    return table


def picture_sizes(table: SampleTable) -> npt.NDArray[np.float64]:
    """Width and height of every picture, [n, 2]; 1 × 1 for one that can't be read."""
    headers = picture_headers(table.samples)
    unreadable = (_UNREADABLE, _UNREADABLE)
    return np.array([unreadable if isinstance(h, DataError) else (h.width, h.height) for h in headers], np.float64)


def truths_of(table: SampleTable, classes: Sequence[str], canvas: Canvas) -> list[ImageBoxes]:
    """The boxes of every picture in pixels of the network's input, rounded and clipped as TAO's evaluation does."""
    recipe = SSDRecipe(canvas)
    objects = ObjectTable(table, classes)
    matrices = recipe.evaluation_views(picture_sizes(table)).matrices
    truths = []
    for boxes, labels, difficult, matrix in zip(
        objects.boxes, objects.labels, objects.difficult, matrices, strict=True
    ):
        seen = on_canvas(boxes, np.repeat(matrix[None], len(boxes), axis=0))
        truths.append(rounded_truth(ImageBoxes.of(seen, labels, difficult), canvas.width, canvas.height))
    return truths


def count_learnable(setup: SSDSetup, table: SampleTable) -> int:
    """How many objects of training pictures the spec keeps on the network's input; a warning counts the others.

    Raises:
        DataError: it keeps none.
    """
    sizes = picture_sizes(table)
    readable = [sample for sample, size in zip(table, sizes, strict=True) if size.max() > _UNREADABLE]
    objects = ObjectTable(replace(table, samples=tuple(readable)), setup.data.classes)
    counts = [len(boxes) for boxes in objects.boxes]
    matrices = setup.recipe.evaluation_views(sizes[sizes.max(axis=1) > _UNREADABLE]).matrices
    boxes = on_canvas(np.concatenate([np.zeros((0, 4)), *objects.boxes]), np.repeat(matrices, counts, axis=0))
    kept = int(setup.recipe.clip(boxes, True)[1].sum())
    if lost := len(boxes) - kept:
        canvas = setup.recipe.canvas
        what = f"{lost:,} of {len(boxes):,} objects are below the spec's least size at {canvas.width} × {canvas.height}"
        what += " pixels, or outside their picture"
        if not kept:
            raise DataError(what, table.root, "Lower min_bbox_width and min_bbox_height in the spec, or raise --size")
        logger.warning("%s, and are left out of training.", what)
    return kept


def _table(samples: Sequence[Sample], data: SSDData) -> SampleTable:
    sources = (*data.training, *data.validation)
    root = next((source.images or source.labels or source.records for source in sources), None)
    return SampleTable(tuple(samples), ("NEGATIVE", "POSITIVE"), root or Path(), source="tao")


def _samples(sources: Sequence[Source], data: SSDData, split: Split | None) -> Iterator[Sample]:
    """The samples of sources with their own labels; of records with a fold, in the split that the fold says."""
    for source in sources:
        try:
            table = _read(source, data, data.validation_fold if split is None else None)
        except DataError as error:
            if "--images" not in (error.hint or ""):
                raise
            hint = "Check image_directory_path, label_directory_path and image_extension in the spec"
            raise DataError(error.message, error.path, hint) from error
        for sample in table:
            own = sample.split if source.records else None  # folders named "test" are no split to a spec
            yield replace(sample, split=split or own or "train")


def _read(source: Source, data: SSDData, fold: int | None) -> SampleTable:
    for folder in (source.images, source.labels, source.records and source.records.parent):
        if folder is not None and not folder.is_dir() and "*" not in str(folder):
            raise DataError(f"There is no folder {folder}, which the spec names", folder, _MOUNT)
    if source.records is not None:
        labels = {name: label for label, name in data.mapping.items()}
        return read_tfrecords(
            source.records,
            images=source.images,
            extension=data.image_extension or None,
            validation_fold=fold,
            class_names=[labels[name] for name in data.classes],  # records for SSD number the classes
            embedded=source.images is None,
            keep_regions=DONT_CARE in data.mapping,
        )
    if source.labels is None:
        raise DataError("A data source of the spec has neither labels nor records")
    return read_kitti(source.labels, images=source.images, classes=data.mapping)


def _mapped(samples: Iterable[Sample], data: SSDData) -> tuple[list[Sample], Sequence[str]]:
    """Samples whose boxes have the classes of the spec, and the labels that it doesn't know, by falling frequency."""
    unknown: Counter[str] = Counter()
    reversed_boxes = 0
    mapped = []
    for sample in samples:
        kept: list[Box] = []
        for box in sample.boxes:
            name = data.mapping.get(box.label.lower())
            if name is None:
                unknown[box.label] += 1
            elif box.right <= box.left or box.bottom <= box.top:
                reversed_boxes += 1
            else:
                kept.append(replace(box, label=name))
        mapped.append(replace(sample, boxes=tuple(kept), label=int(bool(kept))))
    if unknown:
        listed = ", ".join(f"{name} ({count:,})" for name, count in unknown.most_common())
        logger.warning("Labels that target_class_mapping lacks are left out: %s.", listed)
    if reversed_boxes:
        logger.warning("%d boxes whose right or lower edge comes first are left out.", reversed_boxes)
    return mapped, [name for name, _ in unknown.most_common()]
