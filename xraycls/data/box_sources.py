"""The pictures and boxes that a detector learns from and is validated with, from any mixture of sources."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.assign import draw_folds
from xraycls.data.depth import one_depth
from xraycls.data.formats.kitti import DONT_CARE, read_kitti
from xraycls.data.formats.tfrecords import read_tfrecords
from xraycls.data.source import read_table
from xraycls.data.split import draw_splits
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Box, Sample, Split

logger = logging.getLogger(__name__)

_MOUNT = "Mend the spec, or say where the container's folder lies here: --mount /workspace/tlt-experiments=FOLDER"
_PRESENCE = ("NEGATIVE", "POSITIVE")
"""Classes of pictures by which splits are stratified: without and with an object."""


@dataclass(frozen=True, slots=True)
class BoxSource:
    """Where pictures and their boxes lie: one of ``path``, ``labels`` and ``records`` is given.

    Attributes:
        path: data in any format that ``xraycls data list`` knows: KITTI, COCO, YOLO, Pascal VOC, RSNA, SIIM, NIH,
            TFRecords, a CSV, a prepared store or the folder ``xraycls data convert`` wrote.
        images: the folder of the pictures, where it isn't beside the labels; with records, the one that image names
            are relative to.
        labels: the folder of KITTI labels.
        records: TFRecords, a file or several by ``*`` in its name.
        weight: how often pictures of this source are drawn in training, relative to the other sources and whatever
            their sizes; above 0. Where all are 1, every picture is drawn once an epoch.
    """

    path: Path | None = None
    images: Path | None = None
    labels: Path | None = None
    records: Path | None = None
    weight: float = 1.0

    def below(self, folder: Path) -> BoxSource:
        """Returns the same source with relative paths starting from a folder."""
        return replace(
            self,
            path=self.path and folder / self.path,
            images=self.images and folder / self.images,
            labels=self.labels and folder / self.labels,
            records=self.records and folder / self.records,
        )


@dataclass(frozen=True, slots=True)
class BoxData:
    """What to train on and what to validate with.

    Attributes:
        training: sources to train on; their own validation splits are used for validation where ``validation`` is
            empty.
        validation: sources to validate with.
        classes: names of the objects, without the background, in the order of the labels; empty for all that the
            training sources have, sorted.
        mapping: class by label of the source, in small letters; labels that it lacks are no objects. None takes the
            labels as they are.
        val_fraction: share of the training pictures that becomes validation, by patient, where no source has a
            validation split, 0–1.
        folds: number of folds that the training pictures are dealt to, by patient and presence of objects; 0 for none.
        fold: which of them is for validation, counted from 0.
        validation_fold: the fold of the training records that is for validation; None for none.
        image_extension: of images that records name, without a dot; "" where they have it.
        seed: of the draw of the validation split.
        most_objects: that a training picture may have, 1 or more; one with more is refused. None for any number.
        learn_difficult: whether objects that are marked difficult are learned; validation knows them in any case.
    """

    training: tuple[BoxSource, ...]
    validation: tuple[BoxSource, ...] = ()
    classes: tuple[str, ...] = ()
    mapping: Mapping[str, str] | None = None
    val_fraction: float = 0.0
    folds: int = 0
    fold: int = 0
    validation_fold: int | None = None
    image_extension: str = ""
    seed: int = 0
    most_objects: int | None = None
    learn_difficult: bool = True


@dataclass(frozen=True, slots=True)
class BoxTables:
    """What a detector trains on and is validated with.

    Attributes:
        table: all samples, in the splits "train" and "val"; boxes have names of ``classes``.
        classes: of objects, without the background.
        weights: of the samples of ``training``, how often each is drawn; empty where all weigh the same.
    """

    table: SampleTable
    classes: tuple[str, ...]
    weights: tuple[float, ...] = ()

    @property
    def training(self) -> SampleTable:
        """The samples to train on."""
        return self.table.split("train")

    @property
    def validation(self) -> SampleTable:
        """The samples to validate with; may be empty."""
        return self.table.split("val")


def read_boxes(data: BoxData) -> BoxTables:
    """Returns the samples of all sources, to train on and to validate with.

    Labels are compared in small letters and mapped; those that the mapping lacks are no objects, and neither are boxes
    whose corners are the wrong way round. Warnings count both, and images that are in both splits.

    Raises:
        DataError: folders, labels, records or images that can't be read, a validation fold that no file has, or no
            object at all to train on.
    """
    sources = (*data.training, *data.validation)
    found = [*_samples(data.training, data, None), *_samples(data.validation, data, "val", len(data.training))]
    classes = data.classes or _classes_of(sample for sample, _ in found)
    mapped, unknown = _mapped([sample for sample, _ in found], data, classes)
    table = _with_validation(_table(mapped, data), data)
    table = table.with_samples(one_depth(table.samples, table.root))
    of = [source for sample, (_, source) in zip(table, found, strict=True) if sample.split == "train"]
    counts = Counter(of)
    weights = tuple(sources[source].weight / counts[source] for source in of)
    read = BoxTables(table, classes, weights if any(each.weight != 1.0 for each in data.training) else ())
    if not data.learn_difficult:
        read = replace(read, table=_without_difficult(read.table))
    if not any(sample.boxes for sample in read.training):
        given = f"; the labels are {', '.join(unknown)}" if unknown else ""
        raise DataError(
            f"None of the {len(read.training):,} training images has an object of the classes "
            f"{', '.join(classes) or '(none)'}{given}",
            read.table.root,
            "The keys of target_class_mapping must be the labels in small letters" if data.mapping else None,
        )
    most = max(read.training, key=lambda sample: len(sample.boxes))
    if data.most_objects is not None and len(most.boxes) > data.most_objects:
        raise DataError(
            f"{most.name} has {len(most.boxes)} objects, and at most {data.most_objects} are allowed",
            most.path,
            "Raise max_objects_num_per_image in the spec",
        )
    if not len(read.validation):
        logger.warning("There are no validation images, so there will be no average precision.")
    both = {sample.path.resolve() for sample in read.training} & {sample.path.resolve() for sample in read.validation}
    if both and not any(sample.row is not None for sample in read.training):
        logger.warning("%d images are for training and for validation, which flatters average precision.", len(both))
    return read


def read_validation(data: BoxData) -> BoxTables:
    """Returns the validation images, as :func:`read_boxes` reads them; what is for training alone isn't looked at.

    Raises:
        DataError: there are none, or they can't be read.
    """
    found = [*_samples(data.training if not data.validation else (), data, None)]
    found += _samples(data.validation, data, "val", len(data.training))
    classes = data.classes or _classes_of(sample for sample, _ in found)
    table = _with_validation(_table(_mapped([s for s, _ in found], data, classes)[0], data), data).split("val")
    if not len(table):
        raise DataError("There are no validation images", None, "Give validation sources, or a validation fold")
    if not any(sample.boxes for sample in table):
        logger.warning("None of the %d validation images has an object, so there is nothing to find.", len(table))
    return BoxTables(table, classes)


def read_judged(path: Path, classes: tuple[str, ...], images: Path | None = None) -> BoxTables:
    """Returns the pictures of a data set to judge a trained detector on: its test split, else its validation split,
    else all of them.

    Args:
        path: data in any format of boxes.
        classes: those of the detector; boxes of other labels are no objects, which a warning says.
        images: the folder of the pictures, where it isn't beside the labels.

    Raises:
        DataError: the data can't be read.
    """
    table = read_table(path, images=images)
    split = next((name for name in ("test", "val") if name in table.splits), None)
    samples = [replace(sample, split="val") for sample in table if split is None or sample.split == split]
    data = BoxData(training=(BoxSource(path=path),), classes=classes)
    return BoxTables(_table(_mapped(samples, data, classes)[0], data), classes)


def _without_difficult(table: SampleTable) -> SampleTable:
    """The table whose training images have no difficult objects; a message counts them."""
    left_out = sum(box.difficult for sample in table.split("train") for box in sample.boxes)
    if left_out:
        logger.info("%d objects marked difficult are not learned.", left_out)

    def plain(sample: Sample) -> Sample:
        boxes = tuple(box for box in sample.boxes if not box.difficult)
        return replace(sample, boxes=boxes, label=int(bool(boxes))) if sample.split == "train" else sample

    return replace(table, samples=tuple(plain(sample) for sample in table))


def _classes_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    return tuple(sorted({box.label for sample in samples for box in sample.boxes}))


def _with_validation(table: SampleTable, data: BoxData) -> SampleTable:
    """The table with a validation split drawn by patient, where one is wanted and no source gives it."""
    if not data.folds and (not data.val_fraction or data.validation or "val" in table.splits):
        return table
    present = sorted({sample.label for sample in table if sample.label is not None})
    # Where every picture has an object, there is nothing to stratify by.
    classes = tuple(table.classes[label] for label in present)
    plain = replace(table, classes=classes, samples=tuple(_relabelled(sample, present) for sample in table))
    if data.folds:
        return _with_fold(table, draw_folds(plain, data.folds, data.seed), data)
    drawn = draw_splits(plain, val_fraction=data.val_fraction, test_fraction=0.0, seed=data.seed)
    samples = (replace(one, split=other.split) for one, other in zip(table, drawn, strict=True))
    return table.with_samples(samples)


def _relabelled(sample: Sample, present: Sequence[int]) -> Sample:
    """The sample with its class as a number among those that are present."""
    return sample if sample.label is None else replace(sample, label=present.index(sample.label))


def _with_fold(table: SampleTable, folds: npt.NDArray[np.int64], data: BoxData) -> SampleTable:
    """The table with one of its folds for validation, whatever split its pictures had."""
    if not 0 <= data.fold < data.folds:
        raise UsageError(f"data.fold must be 0 to {data.folds - 1}, not {data.fold}")
    return table.with_samples(
        replace(sample, split="val" if own == data.fold else "train") for sample, own in zip(table, folds, strict=True)
    )


def _table(samples: Sequence[Sample], data: BoxData) -> SampleTable:
    sources = (*data.training, *data.validation)
    root = next((each.path or each.images or each.labels or each.records for each in sources), None)
    return SampleTable(tuple(samples), _PRESENCE, root or Path(), source="boxes")


def _samples(
    sources: Sequence[BoxSource], data: BoxData, split: Split | None, first: int = 0
) -> Iterator[tuple[Sample, int]]:
    """The samples of sources with their own labels and the number of the source.

    Of records with a fold they are in the split that the fold says, of other data in their own.
    """
    for number, source in enumerate(sources, first):
        try:
            table = _read(source, data, data.validation_fold if split is None else None)
        except DataError as error:
            if "--images" not in (error.hint or "") or source.path is not None:
                raise
            hint = "Check image_directory_path, label_directory_path and image_extension in the spec"
            raise DataError(error.message, error.path, hint) from error
        for sample in table:
            own = sample.split if source.labels is None else None  # folders named "test" are no split to a spec
            if own == "test" and split is None:
                continue
            yield replace(sample, split=split or own or "train"), number


def _read(source: BoxSource, data: BoxData, fold: int | None) -> SampleTable:
    if source.path is not None:
        return read_table(source.path, images=source.images)
    for folder in (source.images, source.labels, source.records and source.records.parent):
        if folder is not None and not folder.is_dir() and "*" not in str(folder):
            raise DataError(f"There is no folder {folder}, which the spec names", folder, _MOUNT)
    mapping = data.mapping or {}
    if source.records is not None:
        labels = {name: label for label, name in mapping.items()}
        return read_tfrecords(
            source.records,
            images=source.images,
            extension=data.image_extension or None,
            validation_fold=fold,
            class_names=[labels[name] for name in data.classes] if mapping else (),  # SSD's records number them
            embedded=source.images is None,
            keep_regions=DONT_CARE in mapping,
        )
    if source.labels is None:
        raise UsageError("A data source has neither a path nor labels nor records")
    return read_kitti(source.labels, images=source.images, classes=mapping or None)


def _mapped(samples: Iterable[Sample], data: BoxData, classes: Sequence[str]) -> tuple[list[Sample], Sequence[str]]:
    """Samples whose boxes have names of the classes, and the labels that have none, by falling frequency."""
    names = {name: name for name in classes}
    unknown: Counter[str] = Counter()
    reversed_boxes = 0
    mapped = []
    for sample in samples:
        kept: list[Box] = []
        for box in sample.boxes:
            name = names.get(box.label) if data.mapping is None else data.mapping.get(box.label.lower())
            if name is None:
                unknown[box.label] += 1
            elif box.right <= box.left or box.bottom <= box.top:
                reversed_boxes += 1
            else:
                kept.append(replace(box, label=name))
        mapped.append(replace(sample, boxes=tuple(kept), label=int(bool(kept))))
    if unknown:
        listed = ", ".join(f"{name} ({count:,})" for name, count in unknown.most_common())
        lacking = "classes" if data.mapping is None else "target_class_mapping"
        logger.warning("Labels that %s lacks are left out: %s.", lacking, listed)
    if reversed_boxes:
        logger.warning("%d boxes whose right or lower edge comes first are left out.", reversed_boxes)
    return mapped, [name for name, _ in unknown.most_common()]
