"""A CSV that names images and their labels, and perhaps patients and splits."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xraycls.data.folder import image_files, images_of
from xraycls.data.records import read_records
from xraycls.data.spelling import in_order, one_spelling
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample, Split

logger = logging.getLogger(__name__)

# What a column may be called, the usual name first; case, blanks and punctuation don't matter.
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_path", "image", "image_path", "X_ray_image_name", "Image Index"),
    "label": ("label", "class", "target", "Finding Labels"),
    "patient": ("patient", "Patient ID"),
    "split": ("split", "subset", "Dataset_type", "fold"),
}
_SEVERAL_FINDINGS = "|"
_NAMED = 5


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    label: str
    patient: str | None
    split: Split | None
    attributes: tuple[tuple[str, str], ...]


def read_csv(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read a CSV with the columns path and label, and optionally patient and split, under any name of ``COLUMNS``.

    The text is UTF-8, separated by commas, semicolons or tabs. A relative path is looked up below ``images``, then
    below the CSV's own folder, then by its file name anywhere below the first of them, which is the table's root; of
    several such files, the one whose path ends as written, or that lies in a folder named like the row's split, is
    taken. Classes are the labels as written, in the order of :func:`xraycls.data.spelling.in_order`; upper and lower
    case make no difference.
    Rows without a path or a label, repeated rows and rows whose image is missing are left out with a warning.

    Args:
        path: the CSV.
        images: the folder that the paths start from; None for the CSV's own folder.
        strict: raise where an image is missing instead of leaving it out.

    Raises:
        DataError: unreadable text, missing columns, an unknown split, several labels in a cell, rows that
            contradict each other, an ambiguous file name, or no image found.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"The folder of images {images} does not exist", images)
    folders = (path.parent,) if images is None else (images, path.parent)
    rows = _complete(path, list(_rows(path)))
    located = _unique(path, _located(path, rows, folders, strict))
    _tell_of_unnamed(path, located)
    spelt = one_spelling((row.label for row in located.values()), path)
    classes = in_order(spelt.values())
    index = {name: label for label, name in enumerate(classes)}
    samples = (
        Sample(file, index[spelt[row.label]], row.patient, row.split, attributes=row.attributes)
        for file, row in located.items()
    )
    return SampleTable(tuple(sorted(samples, key=lambda s: s.path)), classes, folders[0], source="csv")


def _rows(path: Path) -> Iterator[_Row]:
    for record in read_records(path, COLUMNS, required=("path", "label")):
        if _SEVERAL_FINDINGS in record["label"]:
            raise DataError(
                f"Line {record.line} of {path} has several labels ({record['label']}); a classifier needs one an image",
                path,
            )
        written = record["split"]
        split = split_named(written)
        if written and split is None:
            raise DataError(f"Line {record.line} of {path} has the split {written!r}", path, "Use train, val or test")
        yield _Row(record.line, record["path"], record["label"], record["patient"] or None, split, record.others)


def _complete(path: Path, rows: list[_Row]) -> list[_Row]:
    """The rows that have a path and a label."""
    complete = [row for row in rows if row.name and row.label]
    if not complete:
        raise DataError(f"{path} has no row with a path and a label", path)
    if len(complete) < len(rows):
        first = next(row.line for row in rows if not (row.name and row.label))
        logger.warning(
            "%d of %d rows of %s lack a path or a label and are left out, the first on line %d.",
            len(rows) - len(complete),
            len(rows),
            path,
            first,
        )
    return complete


def _located(path: Path, rows: list[_Row], folders: Sequence[Path], strict: bool) -> list[tuple[Path, _Row]]:
    """The rows whose image exists, each with its file."""
    finder = _Finder(path, folders)
    files = [(finder.find(row), row) for row in rows]
    located = [(file, row) for file, row in files if file is not None]
    missing = [row.name for file, row in files if file is None]
    if not missing:
        return located
    message = (
        f"{len(missing):,} of {len(rows):,} images that {path} names are missing below {folders[0]}: {_first(missing)}"
    )
    if strict or not located:
        raise DataError(message, path, "Give the folder that holds them with --images")
    logger.warning("%s; they are left out.", message)
    return located


def _tell_of_unnamed(path: Path, located: Iterable[Path]) -> None:
    """Say which images lie beside those of the table without a row of their own."""
    named = set(located)
    beside = (image for folder in sorted({file.parent for file in named}) for image in images_of(folder))
    unnamed = [image.name for image in beside if image not in named]
    if unnamed:
        logger.info("%d images beside those that %s names have no row in it: %s.", len(unnamed), path, _first(unnamed))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _unique(path: Path, located: list[tuple[Path, _Row]]) -> dict[Path, _Row]:
    """One row a file; raises where two rows disagree about it."""
    unique: dict[Path, _Row] = {}
    repeated = 0
    for file, row in located:
        first = unique.setdefault(file, row)
        if first is row:
            continue
        if (first.label, first.patient, first.split) != (row.label, row.patient, row.split):
            raise DataError(f"Lines {first.line} and {row.line} of {path} disagree about {row.name}", path)
        repeated += 1
    if repeated:
        logger.warning("%d rows of %s repeat an earlier one and are left out.", repeated, path)
    return unique


class _Finder:
    """Finds the file that a row means."""

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        self.path = path
        self.folders = folders

    def find(self, row: _Row) -> Path | None:
        name = Path(row.name.replace("\\", "/"))
        for folder in self.folders:
            if _is_file(folder / name):
                return folder / name
        return self._by_name(row, name)

    @cached_property
    def _index(self) -> dict[str, list[Path]]:
        index = defaultdict(list)
        for file in image_files(self.folders[0]):
            index[file.name].append(file)
        return index

    def _by_name(self, row: _Row, name: Path) -> Path | None:
        files = self._index.get(name.name, [])
        if len(files) > 1:
            files = [f for f in files if f.parts[-len(name.parts) :] == name.parts] or files
        if len(files) > 1 and row.split:
            files = [f for f in files if row.split in _splits_above(f, self.folders[0])] or files
        if len(files) > 1:
            raise DataError(
                f"Line {row.line} of {self.path} names {row.name}, which is both {files[0]} and {files[1]}",
                self.path,
                f"Write the path from {self.folders[0]}",
            )
        return files[0] if files else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a cell that can't be a file name, such as one of 300 characters
        return False


def _splits_above(file: Path, folder: Path) -> set[Split | None]:
    return {split_named(part) for part in file.parent.relative_to(folder).parts}
