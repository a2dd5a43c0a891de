"""A table that names images and their labels, and perhaps patients and splits: a CSV, or lines of words."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xraycls.data.cells import FLAGS, class_cells, is_flag, split_cells, split_flags
from xraycls.data.finder import Finder
from xraycls.data.findings import LABELS, Values, cell_value, label_of, listed_findings, values_of_lists
from xraycls.data.folder import images_of
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.records import Record, Records, plain, read_listing, read_table_records
from xraycls.data.spelling import in_order, one_spelling
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample, Split

logger = logging.getLogger(__name__)

# What a column may be called, the usual name first; case, blanks and punctuation don't matter.
# fmt: off
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        "path", "file", "filename", "file_path", "image", "image_path", "X_ray_image_name", "Image Index", "image_id",
        "img", "img_path", "image_name", "img_name", "image_file", "file_id", "fname", "dicom_id", "SOPInstanceUID",
    ),
    "label": (
        "label", "class", "target", "Finding Labels", "finding", "findings", "labels", "diagnosis", "category",
        "class_name", "label_name", "ground_truth",
    ),
    "patient": (
        "patient", "Patient ID", "subject_id", "subject", "person_id", "person", "patient_number", "patient_no", "mrn",
        "medical_record_number", "pid", "participant_id", "participant", "anon_patient_id", "empi_anon",
    ),
    "split": ("split", "subset", "Dataset_type", "fold", "partition", "dataset_split", "set"),
}
# fmt: on
_SURE_SPLITS = frozenset(map(plain, ("split", "subset", "Dataset_type", "fold")))
_LIKE_A_PATIENT = re.compile(
    r"patient|subject|person|participant|mrn|individual|^case(id|no|number)?$|^study(id|uid|instanceuid)"
)
_NAMED = 5


@dataclass(frozen=True)
class Row:
    """What one line of a table says of an image.

    Attributes:
        line: of the file, from 1.
        name: of the image, as written.
        label: its class.
        patient: None when unknown.
        split: None when unknown.
        attributes: the other cells, as (column, text).
        findings: one value for each finding of the table.
        boxes: in pixels of the image.
    """

    line: int
    name: str
    label: str
    patient: str | None
    split: Split | None
    attributes: tuple[tuple[str, str], ...]
    findings: Values = ()
    boxes: tuple[Box, ...] = ()


def read_csv(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read a table with the columns path and label, and optionally patient and split, under any name of ``COLUMNS``.

    The text is separated by commas, semicolons or tabs; a ``.txt`` file holds lines of words instead, "path class" or,
    as COVIDx does, "patient path class source". A relative path is looked up below ``images``, then below the table's
    own folder, then as :class:`xraycls.data.finder.Finder` does below the first of them, which is the table's root.
    Classes are the labels as written, in the order of :func:`xraycls.data.spelling.in_order`; spellings of one class
    are merged with a warning. Columns such as ``is_valid`` tell the split as well; numbers of folds do where
    ``options.fold`` says which one is held out.
    Rows without a path or a label, repeated rows and rows whose image is missing are left out with a warning. Of
    several findings an image, ``options.labels`` names a column each, or ``options.label_separator`` cuts one cell.

    Args:
        path: the table.
        images: the folder that the paths start from; None for the table's own folder.
        strict: raise where an image is missing instead of leaving it out.
        options: columns that the user names, and the fold.

    Raises:
        DataError: unreadable text, missing columns, an unknown split, several labels in a cell, rows that
            contradict each other, an ambiguous file name, or no image found.
    """
    records = _records(path, options)
    if options.labels or options.label_separator:
        findings, values = _findings(path, records, options)
        rows = _rows_with_findings(path, records, values, options)
        return table_of_rows(path, rows, images=images, strict=strict, findings=findings)
    return table_of_rows(path, _rows(path, records, options), images=images, strict=strict)


def table_of_rows(
    path: Path,
    rows: list[Row],
    *,
    images: Path | None = None,
    strict: bool = False,
    findings: tuple[str, ...] = (),
) -> SampleTable:
    """The table of samples that the lines of a file name, with those left out whose image is missing.

    Args:
        path: the file.
        rows: its lines; those of findings have labels of :data:`~xraycls.data.findings.LABELS`, or none.
        images: the folder that the paths start from; None for the file's own.
        strict: raise where an image is missing.
        findings: their names.

    Raises:
        DataError: no such folder, no image found, an ambiguous name, or rows that contradict each other.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"The folder of images {images} does not exist", images)
    folders = (path.parent,) if images is None else (images, path.parent)
    located = _unique(path, _located(path, rows, folders, strict))
    _tell_of_unnamed(path, located)
    spelt = one_spelling((row.label for row in located.values() if row.label), path)
    classes = LABELS if findings else in_order(spelt.values())
    index = {name: label for label, name in enumerate(classes)}
    samples = (
        Sample(
            file,
            index[spelt[row.label]] if row.label else None,
            row.patient,
            row.split,
            row.boxes,
            attributes=row.attributes,
            findings=row.findings,
        )
        for file, row in located.items()
    )
    ordered = tuple(sorted(samples, key=lambda s: s.path))
    return SampleTable(ordered, classes, folders[0], source="csv", findings=findings)


def _records(path: Path, options: ReadOptions) -> Records:
    if path.suffix.lower() == ".txt" and not options.labels and (listing := read_listing(path)):
        return listing
    required = ("path",) if options.labels and not options.label_separator else ("path", "label")
    return read_table_records(path, COLUMNS, required=required, named=options.columns)


def _findings(path: Path, records: Records, options: ReadOptions) -> tuple[tuple[str, ...], list[Values]]:
    """The findings of a table, and what each row says of them."""
    if options.label_separator:
        return values_of_lists([listed_findings(row["label"], options.label_separator) for row in records.rows])
    header = {plain(name): name for name in records.header}
    names = tuple(header.get(plain(name), "") for name in options.label_columns)
    if "" in names:
        lacking = options.label_columns[names.index("")]
        raise DataError(
            f"{path} has no column {lacking!r}; it has: {', '.join(records.header)}", path, "--labels names its columns"
        )
    values = [finding_values(path, row, all_cells(records, row), names, options) for row in records.rows]
    return names, values


def all_cells(records: Records, row: Record) -> dict[str, str]:
    """The cells of a row by the names of their columns; empty ones may be missing."""
    return {column: row[role] for role, column in records.columns.items()} | dict(row.others)


def finding_values(
    path: Path, row: Record, cells: dict[str, str], names: Sequence[str], options: ReadOptions
) -> Values:
    """What a row of a table with a column for each finding says of them.

    Raises:
        DataError: a cell is no label.
    """
    values = []
    for name in names:
        try:
            values.append(cell_value(cells.get(name, ""), options.blank))
        except ValueError:
            raise DataError(
                f"Line {row.line} of {path} has {cells[name]!r} in {name}, which is no label of a finding",
                path,
                "Its cells are 1, 0, -1 for uncertain, or blank",
            ) from None
    return tuple(values)


def _rows_with_findings(path: Path, records: Records, values: list[Values], options: ReadOptions) -> list[Row]:
    """The rows that have a path."""
    splits = _splits(path, records, options.fold)
    if "patient" not in records.columns:
        _tell_of_patients(path, records)
    if lacking := [record.line for record in records.rows if not record["path"]]:
        told = "%d rows of %s name no image and are left out, the first on line %d."
        logger.warning(told, len(lacking), path, lacking[0])
    return [
        Row(record.line, record["path"], label_name(found), record["patient"] or None, split, record.others, found)
        for record, found, split in zip(records.rows, values, splits, strict=True)
        if record["path"]
    ]


def label_name(values: Values) -> str:
    """The class of :data:`~xraycls.data.findings.LABELS` that findings mean; "" where they tell none."""
    label = label_of(values)
    return "" if label is None else LABELS[label]


def _rows(path: Path, records: Records, options: ReadOptions) -> list[Row]:
    """The rows that have a path and a label."""
    labels = class_cells([each["label"] for each in records.rows], [each.line for each in records.rows], path)
    splits = _splits(path, records, options.fold)
    complete, dropped = [], []
    for record, label, split in zip(records.rows, labels, splits, strict=True):
        if record["path"] and label:
            row = Row(record.line, record["path"], label, record["patient"] or None, split, record.others)
            complete.append(row)
        else:
            dropped.append(record)
    if not complete:
        raise DataError(f"{path} has no row with a path and a label", path)
    if dropped:
        written = Counter(each["label"] for each in dropped if each["path"] and each["label"])
        cells = ", ".join(f"{count:,} × {cell}" for cell, count in written.most_common(_NAMED))
        logger.warning(
            "%d of %d rows of %s lack a path or a label and are left out, the first on line %d%s.",
            len(dropped),
            len(records.rows),
            path,
            dropped[0].line,
            f" ({cells})" if cells else "",
        )
    if "patient" not in records.columns:
        _tell_of_patients(path, records)
    return complete


def _tell_of_patients(path: Path, records: Records) -> None:
    """Say which column looks like the patient and isn't taken for it."""
    alike = [name for name in records.header if _LIKE_A_PATIENT.search(plain(name))]
    named = [name for name in alike if len({dict(row.others).get(name) for row in records.rows}) > 1]
    if named:
        logger.warning(
            "%s has no column that is known to hold patients, but %s looks like one: --patient-column %r takes it.",
            path,
            named[0],
            named[0],
        )


def _splits(path: Path, records: Records, fold: int | None) -> list[Split | None]:
    """The split of every row, from a column of splits, of folds, or of yes and no."""
    cells = [each["split"] for each in records.rows]
    column = records.columns.get("split")
    if column is None or not any(cells):
        return _flagged(records)
    splits = split_cells(cells)
    if splits is None:
        return _held_out(path, column, cells, fold)
    wrong = next((at for at, (cell, split) in enumerate(zip(cells, splits, strict=True)) if cell and not split), None)
    if wrong is None:
        return splits
    if plain(column) in _SURE_SPLITS or any(splits):
        line = records.rows[wrong].line
        raise DataError(f"Line {line} of {path} has the split {cells[wrong]!r}", path, "Use train, val or test")
    return _flagged(records)


def _flagged(records: Records) -> list[Split | None]:
    others = [{plain(name): cell for name, cell in row.others} for row in records.rows]
    flags = [name for name in FLAGS if any(name in each for each in others)]
    flags = [name for name in flags if is_flag([each.get(name, "") for each in others])]
    return [split_flags({name: each.get(name, "") for name in flags}) for each in others]


def _held_out(path: Path, column: str, cells: Sequence[str], fold: int | None) -> list[Split | None]:
    """One fold tests, the next one validates and the others train, as ``xraycls data split --folds`` does."""
    numbers = [int(float(cell)) if cell else None for cell in cells]
    folds = sorted({number for number in numbers if number is not None})
    listed = f"{folds[0]} to {folds[-1]}" if len(folds) > 2 else " and ".join(map(str, folds))
    if fold is None:
        logger.warning(
            "%s of %s numbers folds, %s, and is no split: --fold %d tests on one.", column, path, listed, folds[0]
        )
        return [None] * len(cells)
    if fold not in folds:
        raise DataError(f"{column} of {path} has no fold {fold}", path, f"It has {listed}")
    if len(folds) < 3:
        parts: dict[int | None, Split] = {fold: "test"}
    else:
        parts = {folds[(folds.index(fold) + 1) % len(folds)]: "val", fold: "test"}
    return [None if number is None else parts.get(number, "train") for number in numbers]


def _located(path: Path, rows: list[Row], folders: Sequence[Path], strict: bool) -> list[tuple[Path, Row]]:
    """The rows whose image exists, each with its file."""
    finder = Finder(path, folders)
    files = [(finder.find(row.name, row.line, row.split), row) for row in rows]
    located = [(file, row) for file, row in files if file is not None]
    missing = [row.name for file, row in files if file is None]
    if finder.respelt:
        named = _first([f"{written} is {file.name}" for written, file in finder.respelt.items()])
        logger.info("%d files have another suffix or case than %s says: %s.", len(finder.respelt), path, named)
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
    named = set(map(str, located))  # to tell paths apart takes ten times as long
    folders = sorted(map(Path, {name.rpartition("/")[0] or "/" for name in named}))
    unnamed = [image.name for folder in folders for image in images_of(folder) if str(image) not in named]
    if unnamed:
        logger.info("%d images beside those that %s names have no row in it: %s.", len(unnamed), path, _first(unnamed))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _unique(path: Path, located: list[tuple[Path, Row]]) -> dict[Path, Row]:
    """One row a file; raises where two rows disagree about it."""
    unique: dict[Path, Row] = {}
    repeated = 0
    for file, row in located:
        first = unique.setdefault(file, row)
        if first is row:
            continue
        if replace(first, line=0, attributes=()) != replace(row, line=0, attributes=(), name=first.name):
            raise DataError(f"Lines {first.line} and {row.line} of {path} disagree about {row.name}", path)
        repeated += 1
    if repeated:
        logger.warning("%d rows of %s repeat an earlier one and are left out.", repeated, path)
    return unique
