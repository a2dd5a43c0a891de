"""The whole of ``dataset_convert``: a spec in, TFRecord files and counts out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from xraycls.data.files import remove_leftovers
from xraycls.data.lock import sole_writer_of
from xraycls.errors import SpecError, UsageError, XrayclsError
from xraycls.tao.dataset_convert.classes import class_numbers
from xraycls.tao.dataset_convert.coco import coco_dataset
from xraycls.tao.dataset_convert.frame import Dataset, Log, Progress
from xraycls.tao.dataset_convert.kitti import kitti_dataset
from xraycls.tao.dataset_convert.sample_modifier import Modifier
from xraycls.tao.dataset_convert.write import Writer, planned_shards
from xraycls.tao.dataset_export import DatasetExport
from xraycls.tao.mounts import Mounts
from xraycls.tao.programs import read_spec
from xraycls.tao.status import StatusLog

logger = logging.getLogger(__name__)

_NOTE = (
    "For the dataset_config in the experiment_spec, please use labels in the tfrecords file, while writing the "
    "classmap.\n"
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion wrote.

    Attributes:
        files: the TFRecord files, in order.
        records: written, by fold.
        objects: written, by class in the records.
        class_map: classes in the records by class of the annotations.
        refused: boxes without area, which are left out.
        warnings: the file that lists those; None when there are none.
    """

    files: tuple[Path, ...]
    records: Mapping[int, int]
    objects: Mapping[str, int]
    class_map: Mapping[str, str]
    refused: int
    warnings: Path | None


def dataset_convert(
    spec: Path,
    output: Path,
    *,
    validation_fold: int | None = None,
    class_names: Path | None = None,
    results: Path | None = None,
    mounts: Mounts | None = None,
    log: Log = lambda message, figures: None,
    progress: Progress = lambda done, total: None,
) -> Conversion:
    """Convert images with KITTI or COCO annotations to TFRecords, as TAO's ``dataset_convert`` does.

    A spec with a ``target_class_mapping``, or ``class_names``, makes the records that TAO's SSD reads through DALI:
    they hold the image files, class numbers and an index beside every file.

    Args:
        spec: of kind ``dataset_convert``.
        output: the beginning of the files' names.
        validation_fold: the fold that the spec's sample_modifier_config leaves alone.
        class_names: a file with a class name a line.
        results: the folder of TAO's ``status.json``.
        mounts: where folders that the spec names lie here.
        log: called with what TAO's converter prints.
        progress: told how many images were read.

    Raises:
        SpecError: a mistake in the spec; names file, line and field.
        DataError: images or annotations that can't be used; names file and line. Nothing was written then.
        UsageError: a validation fold that doesn't exist.
        MissingExtra: protobuf or google-crc32c isn't installed.
    """
    status = StatusLog(results, append=False)

    def logged(message: str, figures: Mapping[str, Any]) -> None:
        log(message, figures)
        status.write(message.strip(), figures=figures)

    status.write("Starting Object Detection Dataset Convert.", "STARTED")
    try:
        config = read_spec(spec, DatasetExport)
        dataset = _read(config, spec, mounts or Mounts(), logged, progress)
        done = _write(config, spec, dataset, output, validation_fold, class_names, logged)
    except (XrayclsError, KeyboardInterrupt) as error:
        status.write(str(error) or "Dataset convert was interrupted", "FAILURE")
        raise
    status.write("Dataset convert finished successfully.", "SUCCESS")
    return done


def _read(config: DatasetExport, spec: Path, mounts: Mounts, log: Log, progress: Progress) -> Dataset:
    if config.kitti_config is not None:
        return kitti_dataset(config.kitti_config, spec, mounts, log, progress)
    if config.coco_config is not None:
        return coco_dataset(config.coco_config, spec, mounts, log)
    raise SpecError("the spec has neither kitti_config nor coco_config, so there is nothing to convert", spec)


def _write(
    config: DatasetExport,
    spec: Path,
    dataset: Dataset,
    output: Path,
    validation_fold: int | None,
    class_names: Path | None,
    log: Log,
) -> Conversion:
    folds = len(dataset.folds)
    if validation_fold is not None and not 0 <= validation_fold < folds:
        raise UsageError(f"--validation_fold {validation_fold} is none of the {folds} folds (0 to {folds - 1})")
    modifier = Modifier(config.sample_modifier_config, spec, folds, validation_fold)
    writer = Writer(modifier, class_numbers(config.target_class_mapping, class_names), log)
    with sole_writer_of(output, "choose another -o"):
        remove_leftovers(output.parent, output.name)
        planned = planned_shards(dataset, output)
        objects: Counter[str] = Counter()
        for _, of_fold in groupby(planned, lambda shard: shard.fold):
            counts = sum((writer.write(shard) for shard in of_fold), Counter[str]())
            log(_counted(counts), {})
            objects += counts
    log("Cumulative object statistics", {"categorical": {"num_objects": dict(objects)}})
    log(_counted(objects), {})
    class_map = "".join(f"\n{label}: {name}" for label, name in writer.names.items())
    log(f"Class map. \nLabel in GT: Label in tfrecords file {class_map}", {})
    log(_NOTE, {})
    log("Tfrecords generation complete.", {})
    refused = writer.write_refused(output)
    if refused:
        logger.warning("%d objects have no area and are left out; %s lists them.", len(writer.refused), refused)
    if writer.unmapped:
        named = ", ".join(f"{count} {label}" for label, count in writer.unmapped.most_common())
        logger.warning("Objects whose class has no number are left out: %s.", named)
    files = tuple(shard.path for shard in planned)
    return Conversion(files, dict(writer.records), objects, writer.names, len(writer.refused), refused)


def _counted(counts: Mapping[str, int]) -> str:
    lines = "".join(f"\n{name}: {count}" for name, count in counts.items())
    return f"\nWrote the following numbers of objects:{lines}\n"
