"""Images with KITTI labels, in folds."""

from __future__ import annotations

import logging
import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

from xraycls.data.documents import parse_json
from xraycls.data.formats.kitti import parse_kitti
from xraycls.data.formats.pairs import label_text
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors
from xraycls.data.scan import IMAGE_SUFFIXES
from xraycls.errors import DataError
from xraycls.tao.dataset_convert.folds import random_folds, sequence_folds
from xraycls.tao.dataset_convert.frame import LARGEST, Dataset, Frame, Log, Progress
from xraycls.tao.dataset_export import KittiConfig
from xraycls.tao.mounts import Mounts
from xraycls.tao.spec import wrong_value
from xraycls.types import Sample

logger = logging.getLogger(__name__)

_NAMED = 5


def kitti_dataset(config: KittiConfig, spec: Path, mounts: Mounts, log: Log, progress: Progress) -> Dataset:
    """Read every label and the size of every image.

    Args:
        config: of the spec.
        spec: the spec's file, for messages.
        mounts: for its paths.
        log: called with how many images there are.
        progress: told how many were read.

    Raises:
        SpecError: a value that can't mean anything.
        DataError: an image without labels, a label that isn't 15 tokens with 14 numbers, an image that can't be read.
    """
    _check(config, spec)
    root = mounts.existing(config.root_directory_path, "folder").absolute()
    folder, extension = root / config.image_dir_name, _extension(config, spec)
    if config.partition_mode == "random":
        folds = random_folds(_image_names(folder, extension), config.val_split)
        _log_split(folds, config.val_split, log)
    else:
        sequences = _sequences(root / mounts.path(config.kitti_sequence_to_frames_file))
        folds = sequence_folds(sequences, config.num_partitions)
        log(f"Total number of images: {sum(map(len, folds))}", {})
    names = [name for fold in folds for name in fold]
    labels = {name: root / config.label_dir_name / f"{name}.txt" for name in names}
    images = {name: folder / f"{name}{extension}" for name in names}
    _require("image file", images, "Mend the list of sequences, or image_extension in the spec")
    _require("label file", labels, "An image without objects needs an empty one")
    read = partial(_frame, config.image_dir_name, images, labels)
    frames = {}
    with ThreadPoolExecutor(available_processors()) as pool:
        for done, (name, frame) in enumerate(zip(names, pool.map(read, names), strict=True), start=1):
            frames[name] = frame
            progress(done, len(names))
    read_folds = [[frames[name] for name in fold] for fold in folds]
    return Dataset(read_folds, config.num_partitions, [config.num_shards] * len(folds))


def _check(config: KittiConfig, spec: Path) -> None:
    wrong: tuple[str, str, str | None] | None = None
    if config.partition_mode not in ("random", "sequence"):
        wrong = "partition_mode", f"partition_mode is {config.partition_mode!r}", "Choose 'random' or 'sequence'"
    elif config.partition_mode == "sequence" and not config.kitti_sequence_to_frames_file:
        wrong = "partition_mode", "partition_mode 'sequence' needs kitti_sequence_to_frames_file", None
    elif config.partition_mode == "random" and config.num_partitions != 2:
        message = f"partition_mode 'random' makes 2 partitions, not {config.num_partitions}"
        wrong = "num_partitions", message, "Write num_partitions: 2"
    elif config.partition_mode == "random" and not 0 <= config.val_split / 100.0 < 1:
        wrong = "val_split", f"val_split is {config.val_split:g}", "It is a percentage, at least 0 and below 100"
    if wrong is not None:
        field, message, hint = wrong
        raise wrong_value(spec, f"kitti_config.{field}", message, hint)
    for name in ("point_clouds_dir", "calibrations_dir"):
        if getattr(config, name):
            logger.warning("%s: %s is not used: records hold images' objects alone.", spec, name)


def _extension(config: KittiConfig, spec: Path) -> str:
    extension = config.image_extension or ".png"
    if extension.startswith("."):
        return extension
    logger.warning("%s: image_extension %r has no dot; it is read as '.%s'.", spec, extension, extension)
    return f".{extension}"


def _log_split(folds: list[list[str]], val_split: float, log: Log) -> None:
    validation, training = map(len, folds)
    images = {"kpi": {"num_images": validation + training}}
    log(f"Num images in\nTrain: {training}\tVal: {validation}", images)
    note = "Validation data in partition 0. Hence, while choosing the validation set during training choose"
    log(f"{note} validation_fold 0." if val_split else "Skipped validation data...", {})


def _image_names(folder: Path, extension: str) -> list[str]:
    """The images of a folder without their extension, sorted with it."""
    try:
        files = sorted(file.name for file in folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} could not be read: {error.strerror}", folder) from error
    names = [file.removesuffix(extension) for file in files if file.endswith(extension) and file != extension]
    if not names:
        others = ", ".join(sorted({Path(file).suffix for file in files} - {""})[:_NAMED]) or "no other files"
        message = f"{folder} has no images that end in {extension}; it has {others}"
        raise DataError(message, folder, "Mend image_extension or image_dir_name in the spec")
    left_out = [file for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.endswith(extension)]
    if left_out:  # TAO leaves them out without a word
        logger.warning(
            "%d pictures of %s don't end in %s and are left out, such as %s; image_extension names one suffix.",
            len(left_out),
            folder,
            extension,
            left_out[0],
        )
    return names


def _sequences(file: Path) -> dict[str, list[str]]:
    try:
        content: Any = parse_json(label_text(file))
    except ValueError as error:
        raise DataError(f"{file} is not JSON", file) from error
    lists = list(content.values()) if isinstance(content, dict) else [None]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise DataError(f"{file} is no map of sequences", file, 'It needs {"sequence": ["image", …], …}')
    if not any(lists):
        raise DataError(f"{file} names no image", file)
    return dict(content)


def _require(what: str, files: dict[str, Path], hint: str) -> None:
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
        raise DataError(f"{len(missing)} of {len(files)} images have no {what}: {named}", missing[0], hint)


def _frame(folder: str, images: dict[str, Path], labels: dict[str, Path], name: str) -> Frame:
    image, file = open_image(Sample(images[name])), labels[name]
    objects = parse_kitti(label_text(file), file, exact=True)
    if any(abs(number) > LARGEST for each in objects for number in astuple(each)[1:-1]):
        raise DataError(f"{file} has a number beyond {LARGEST:g}", file)
    keys = [f"{file}_{objects.index(each)}" for each in objects]
    return Frame(posixpath.join(folder, name), images[name], image.width, image.height, objects, keys)
