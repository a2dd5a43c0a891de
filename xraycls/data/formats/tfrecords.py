"""TFRecords of TAO's ``dataset_convert`` as a table of samples."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xraycls.data.files import name_problem
from xraycls.data.folder import IMAGE_SUFFIXES
from xraycls.data.formats.format import boxed_sample, boxed_table, first_few, tell_missing
from xraycls.data.formats.kitti import KittiObject
from xraycls.data.table import SampleTable
from xraycls.data.tfrecord.example import Example, decode_example
from xraycls.data.tfrecord.files import AROUND, is_tfrecord, read_tfrecord
from xraycls.errors import DataError
from xraycls.types import ENCODED, Sample, Split

logger = logging.getLogger(__name__)

_CORNERS = ("x1", "y1", "x2", "y2")
_FOLD = re.compile(r"fold-(\d+)-of-")
_ANEW = "Make them with xraycls dataset_convert and num_partitions: 2, which puts folds into their names"


def detect_tfrecords(path: Path) -> bool:
    """Whether a file is a TFRecord, or a folder holds shards of some."""
    files = sorted(path.glob("*-of-*")) if path.is_dir() else [path]
    return any(is_tfrecord(file) for file in files if not _is_companion(file))


def read_tfrecords(
    path: Path,
    *,
    images: Path | None = None,
    strict: bool = False,
    extension: str | None = None,
    validation_fold: int | None = None,
    class_names: Sequence[str] = (),
    embedded: bool = False,
    keep_regions: bool = False,
) -> SampleTable:
    """Read the boxes of converted images; the pictures themselves are read from ``images``.

    Images that aren't there are left out with a warning. Indices and warnings that lie among the records are skipped.

    Args:
        path: a file, a folder, a pattern such as ``kitti_trainval*``, or what the files' names begin with.
        images: the folder that the records' image names start from, TAO's image_directory_path; by default that of
            the records.
        strict: raise where an image is missing instead of leaving it out.
        extension: of the images, with or without its dot; by default the one that is found.
        validation_fold: the fold whose files (``fold-000-of-``) are validation, the rest being training; None gives
            no splits.
        class_names: of records for SSD, which hold numbers from 1; by default the numbers.
        embedded: take the pictures out of the records where they hold them, as those for SSD do, not from files.
        keep_regions: DontCare regions are findings; else they are left out with a warning, as in KITTI folders.

    Raises:
        DataError: no such files, a damaged one, records of something else, a fold that no file has, no image.
    """
    files = _files(path)
    found = [_split(file, validation_fold) for file in files]
    if validation_fold is not None and "val" not in found:
        raise _without_fold(validation_fold, files, path)
    root = images or files[0].parent
    finder = _Images(root, [_dotted(extension)] if extension else sorted(IMAGE_SUFFIXES))
    samples: list[Sample] = []
    missing, ignored = [], 0
    for file, split in zip(files, found, strict=True):
        for name, objects, place in _annotations(file, class_names):
            held = embedded and place is not None
            if (picture := file if held else finder.find(name)) is None:
                missing.append(name)
                continue
            kept = [each for each in objects if keep_regions or not each.is_ignored]
            ignored += len(objects) - len(kept)
            sample = boxed_sample(picture, (each.box for each in kept), split)
            samples.append(replace(sample, member=ENCODED, row=place) if held else sample)
    if missing:
        tell_missing(f"{len(missing):,} images of {path} are not below {root}: {first_few(missing)}", path, strict)
    if ignored:
        logger.warning("%d DontCare regions of %s are no findings and are left out.", ignored, path)
    return boxed_table(samples, root, "tfrecords", path)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = list(path.iterdir())
    elif path.is_file():
        return [path]
    else:
        pattern = str(path) if glob.has_magic(str(path)) else f"{glob.escape(str(path))}*"
        found = [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207 - the pattern may be absolute
    files = sorted(file for file in found if file.is_file() and not _is_companion(file))
    if not files:
        raise DataError(f"There are no TFRecord files {path}", path, "Make them with xraycls dataset_convert")
    return files


def _is_companion(file: Path) -> bool:
    """Whether this is no record but a file that a converter puts beside them."""
    return file.name.startswith(("idx-", ".")) or file.name.endswith("_warning.json")


def _split(file: Path, validation_fold: int | None) -> Split | None:
    if validation_fold is None:
        return None
    return "val" if f"fold-{validation_fold:03d}-of-" in file.name else "train"


def _without_fold(fold: int, files: Sequence[Path], path: Path) -> DataError:
    there = sorted({int(number) for file in files for number in _FOLD.findall(file.name)})
    if len(there) == 1:  # all that there is to learn from
        message = f"There is no validation fold: all {len(files)} files of {path} are of fold {there[0]}, not {fold}"
        return DataError(message, path, "Leave validation_fold out, or convert anew with a val_split above 0")
    hint = f"Give one of the folds that are there: {first_few(there)}" if there else _ANEW
    return DataError(f"No file of validation_fold {fold} is among the {len(files)} of {path}", path, hint)


def _dotted(extension: str) -> str:
    return extension if extension.startswith(".") else f".{extension}"


@dataclass
class _Images:
    """Finds images by name; the extension that was right last is tried first."""

    root: Path
    extensions: list[str]

    def find(self, name: str) -> Path | None:
        if name_problem(f"{self.root}/{name}{max(self.extensions, key=len)}"):
            return None
        for extension in self.extensions:
            path = self.root / f"{name}{extension}"
            if path.is_file():
                self.extensions.remove(extension)
                self.extensions.insert(0, extension)
                return path
        return None


def _annotations(file: Path, class_names: Sequence[str]) -> Iterator[tuple[str, list[KittiObject], int | None]]:
    """Name and objects of every picture and, of one that its record holds, where that begins in the file."""
    offset = 0
    for number, record in enumerate(read_tfrecord(file), start=1):
        try:
            example = decode_example(record)
            yield *_annotation(example, class_names), offset if ENCODED in example else None
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise DataError(f"Record {number} of {file} is not of dataset_convert: {error}", file) from error
        offset += AROUND + len(record)


def _annotation(example: Example, class_names: Sequence[str]) -> tuple[str, list[KittiObject]]:
    (encoded,) = _bytes(example, "frame/id")
    if "target/object_class_id" in example:
        names = [_class_name(int(number), class_names) for number in _numbers(example, "target/object_class_id")]
        (width,), (height,) = _numbers(example, "frame/width"), _numbers(example, "frame/height")
        scale = (width, height, width, height)
    else:
        names = [name.decode() for name in _bytes(example, "target/object_class")]
        scale = (1, 1, 1, 1)
    columns = [
        [value * by for value in _numbers(example, f"target/coordinates_{corner}")]
        for corner, by in zip(_CORNERS, scale, strict=True)
    ]
    occlusions = _numbers(example, "target/occlusion")
    objects = [
        KittiObject(name, left, top, right, bottom, occlusion=occlusion)
        for name, occlusion, left, top, right, bottom in zip(names, occlusions, *columns, strict=True)
    ]
    return encoded.decode("utf-8", "surrogateescape"), objects


def _bytes(example: Example, name: str) -> list[bytes]:
    values = example[name]
    if not isinstance(values, list):
        raise TypeError(f"{name} is no text")
    return values


def _numbers(example: Example, name: str) -> list[float]:
    values = example[name]
    if isinstance(values, list):
        if values:
            raise TypeError(f"{name} is no list of numbers")
        return []
    if not np.isfinite(values).all():
        raise ValueError(f"{name} is not finite")
    return [float(value) for value in values]


def _class_name(number: int, names: Sequence[str]) -> str:
    return names[number - 1] if 1 <= number <= len(names) else str(number)
