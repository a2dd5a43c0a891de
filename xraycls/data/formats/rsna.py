"""The tables of the RSNA Pneumonia Detection Challenge, stage 2: a row a box, and a class a patient."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from xraycls.data.formats.by_id import (
    coordinate,
    folder_of_pictures,
    has_columns,
    pictures_by_id,
    table_beside,
)
from xraycls.data.formats.format import CLASSES, first_few
from xraycls.data.records import Record, read_records
from xraycls.data.rows import write_rows, written_box
from xraycls.data.spelling import in_order
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample

LABELS, DETAILS = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
IMAGES = "stage_2_train_images"
OPACITY = "Lung Opacity"

_CORNER = ("x", "y", "width", "height")
_COLUMNS = {"patientId": ("patientId",), **{name: (name,) for name in _CORNER}, "Target": ("Target",)}
_DETAIL_COLUMNS = {"patientId": ("patientId",), "class": ("class",)}
_TARGETS = {"0": False, "1": True}
_KNOWN = ("Normal", "No Lung Opacity / Not Normal", OPACITY)  # from the healthiest


def read_rsna(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read ``stage_2_train_labels.csv``, or the folder that holds it.

    Pictures are ``<patientId>.dcm``, or another format of that name, in ``stage_2_train_images`` beside the table.
    Classes come from ``stage_2_detailed_class_info.csv`` beside it, else they are NEGATIVE and POSITIVE by Target.

    Args:
        path: the table or its folder.
        images: the folder of the pictures, with sub-folders, where it is another one.
        strict: raise where a picture is missing instead of leaving it out.

    Raises:
        DataError: a table that can't be read or contradicts itself, or no picture found.
    """
    table = table_beside(path, (LABELS,))
    boxes = _boxes(table, read_records(table, _COLUMNS, required=_COLUMNS))
    if not boxes:
        raise DataError(f"{table} has no rows", table)
    details = table.parent / DETAILS
    if details.is_file():
        named = _named_classes(details, boxes)
    else:
        named = {patient: CLASSES[bool(found)] for patient, found in boxes.items()}
    classes = _ordered(set(named.values()))
    folder = folder_of_pictures(table, IMAGES, images)
    files = pictures_by_id(table, boxes, folder, strict=strict)
    samples = (
        Sample(file, classes.index(named[patient]), patient, boxes=tuple(boxes[patient]))
        for patient, file in files.items()
    )
    return SampleTable(tuple(sorted(samples, key=lambda s: s.path)), classes, folder, "rsna")


def write_rsna(table: SampleTable, folder: Path) -> None:
    """Write both tables below ``folder``: pictures go by their name without suffix, all boxes are lung opacities.

    Raises:
        DataError: a picture without a class.
        XrayclsError: the files can't be written.
    """
    rows: list[tuple[object, ...]] = []
    classes: list[tuple[str, str]] = []
    for sample in table:
        if sample.label is None:
            raise DataError(f"{sample.name} has no class, which RSNA's tables need", sample.path)
        name = sample.path.stem
        found = [(*written_box(box), 1) for box in sample.boxes] or [("", "", "", "", 0)]
        rows += [(name, *box) for box in found]
        classes += [(name, table.classes[sample.label])] * len(found)
    write_rows(folder / LABELS, tuple(_COLUMNS), rows)
    write_rows(folder / DETAILS, tuple(_DETAIL_COLUMNS), classes)


def detect_rsna(path: Path) -> bool:
    """Whether a folder or CSV holds RSNA's table of boxes."""
    return (path / LABELS).is_file() if path.is_dir() else has_columns(path, _COLUMNS)


def _boxes(table: Path, records: list[Record]) -> dict[str, list[Box]]:
    """The boxes of every patient, in the order of the table."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    first: dict[str, Record] = {}
    for record in records:
        patient = record["patientId"]
        if not patient:
            raise DataError(f"Line {record.line} of {table} has no patientId", table)
        target = _target(record, table)
        before = first.setdefault(patient, record)
        if before is not record and not (target and _target(before, table)):
            raise DataError(
                f"Lines {before.line} and {record.line} of {table} both name {patient}, but not two boxes", table
            )
        boxes[patient] += [_box(record, table)] if target else []
    return dict(boxes)


def _target(record: Record, table: Path) -> bool:
    """Whether the row is that of a box."""
    target = _TARGETS.get(record["Target"])
    if target is None:
        raise DataError(f"Line {record.line} of {table} has the Target {record['Target']!r}", table, "Use 0 or 1")
    if not target and any(record[role] for role in _CORNER):
        raise DataError(f"Line {record.line} of {table} has a box, but the Target 0", table)
    return target


def _box(record: Record, table: Path) -> Box:
    x, y, width, height = (coordinate(record, role, table) for role in _CORNER)
    return Box(OPACITY, x, y, x + width, y + height)


def _named_classes(details: Path, boxes: dict[str, list[Box]]) -> dict[str, str]:
    """The class of every patient."""
    spelt = {name.casefold(): name for name in _KNOWN}
    named: dict[str, str] = {}
    lines: dict[str, int] = {}
    for record in read_records(details, _DETAIL_COLUMNS, required=_DETAIL_COLUMNS):
        patient, name = record["patientId"], spelt.get(record["class"].casefold(), record["class"])
        line = lines.setdefault(patient, record.line)
        if named.setdefault(patient, name) != name:
            raise DataError(f"Lines {line} and {record.line} of {details} give {patient} two classes", details)
    missing = [patient for patient in boxes if not named.get(patient)]
    if missing:
        raise DataError(
            f"{details} has no class for {len(missing):,} of {len(boxes):,} patients: {first_few(missing)}", details
        )
    wrong = next((p for p, found in boxes.items() if named[p] in _KNOWN and (named[p] == OPACITY) != bool(found)), None)
    if wrong is not None:
        count = len(boxes[wrong])
        raise DataError(
            f"Line {lines[wrong]} of {details} calls {wrong} {named[wrong]!r}, but it has {count} boxes", details
        )
    return {patient: named[patient] for patient in boxes}


def _ordered(names: set[str]) -> tuple[str, ...]:
    """The competition's classes from the healthiest, then others."""
    return (*(name for name in _KNOWN if name in names), *in_order(names.difference(_KNOWN)))
