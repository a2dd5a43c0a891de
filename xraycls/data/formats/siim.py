"""The tables of the SIIM-FISABIO-RSNA COVID-19 detection challenge: boxes of images, and classes of studies."""

from __future__ import annotations

import ast
import logging
import math
from pathlib import Path

from xraycls.data.formats.by_id import (
    folder_of_pictures,
    has_columns,
    pictures_by_id,
    table_beside,
)
from xraycls.data.formats.format import CLASSES, first_few
from xraycls.data.records import Record, read_records
from xraycls.data.rows import write_rows, written_number
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample

logger = logging.getLogger(__name__)

IMAGE_LEVEL, STUDY_LEVEL = "train_image_level.csv", "train_study_level.csv"
IMAGES = "train"
OPACITY = "opacity"
APPEARANCES = ("Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance")

_COLUMNS = {name: (name,) for name in ("id", "boxes", "label", "StudyInstanceUID")}
_STUDY_COLUMNS = {name: (name,) for name in ("id", *APPEARANCES)}
_OF_IMAGE, _OF_STUDY = "_image", "_study"
_KEYS = ("x", "y", "width", "height")
_NOTHING = "none 1 0 0 1 1"
_MOST_TEXT = 20_000  # characters of a list of boxes: some two hundred boxes
_SHOWN = 60  # characters of one that is wrong
_CLOSE = 0.01  # pixels, between two ways to write a box


def read_siim(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read ``train_image_level.csv``, or the folder that holds it.

    Pictures are found by their names, ``<id>.dcm`` or another format, anywhere below ``train`` beside the table. A
    study counts as a patient. Classes are the four appearances of ``train_study_level.csv`` beside it, else NEGATIVE
    and POSITIVE: with a box.

    Args:
        path: the table or its folder.
        images: the folder of the pictures, with sub-folders, where it is another one.
        strict: raise where a picture is missing instead of leaving it out.

    Raises:
        DataError: a table that can't be read or contradicts itself, or no picture found.
    """
    table = table_beside(path, (IMAGE_LEVEL,))
    rows = _rows(table)
    boxes = {name: _boxes(record, table) for name, record in rows.items()}
    _tell_disagreement(table, [rows[name] for name, found in boxes.items() if not _agree(rows[name]["label"], found)])
    studies = table.parent / STUDY_LEVEL
    appearance = _appearances(studies) if studies.is_file() else None
    folder = folder_of_pictures(table, IMAGES, images)
    samples = []
    for name, file in pictures_by_id(table, rows, folder, strict=strict).items():
        study = rows[name]["StudyInstanceUID"]
        if appearance is None:
            label = int(bool(boxes[name]))
        elif study in appearance:
            label = appearance[study]
        else:
            raise DataError(f"{studies} has no row for the study {study} of line {rows[name].line} of {table}", studies)
        samples.append(Sample(file, label, study, boxes=boxes[name], attributes=rows[name].others))
    classes = CLASSES if appearance is None else APPEARANCES
    return SampleTable(tuple(sorted(samples, key=lambda s: s.path)), classes, folder, "siim")


def write_siim(table: SampleTable, folder: Path) -> None:
    """Write the table of images below ``folder`` and, where the classes are the four appearances, that of studies.

    Pictures go by their name without suffix, patients become studies, and all boxes opacities.

    Raises:
        DataError: images of one study in two classes.
        XrayclsError: the files can't be written.
    """
    write_rows(folder / IMAGE_LEVEL, tuple(_COLUMNS), [_row(sample) for sample in table])
    if table.classes != APPEARANCES:
        return
    studies: dict[str, int | None] = {}
    for sample in table:
        study = _study(sample)
        if studies.setdefault(study, sample.label) != sample.label:
            raise DataError(f"The images of {study} are in two classes, but a study has one", sample.path)
    marks = [(study + _OF_STUDY, *(int(at == label) for at in range(4))) for study, label in studies.items()]
    write_rows(folder / STUDY_LEVEL, tuple(_STUDY_COLUMNS), marks)


def parse_boxes(text: str) -> list[tuple[float, float, float, float]]:
    """The boxes x, y, width, height of a cell such as ``[{'x': 1.5, 'y': 2, 'width': 30, 'height': 40}]``.

    Only literals are read, nothing is evaluated.

    Raises:
        ValueError: says what is wrong with them, as a sentence about boxes ends.

    >>> parse_boxes("[{'x': 1.5, 'y': 2, 'width': 30, 'height': 40}]")
    [(1.5, 2.0, 30.0, 40.0)]
    """
    if len(text) > _MOST_TEXT:
        raise ValueError(f"have more than {_MOST_TEXT:,} characters")
    try:
        listed = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("are no list") from error
    if not isinstance(listed, list):
        raise ValueError("are no list")
    boxes = []
    for box in listed:
        if not isinstance(box, dict) or set(box) != set(_KEYS):
            raise ValueError(f"are not all {{{', '.join(_KEYS)}}}")
        numbers = [box[key] for key in _KEYS]
        if not all(type(n) in (int, float) and abs(n) < 1e9 for n in numbers):  # nan compares false
            raise ValueError("have a coordinate that is no number of pixels")
        x, y, width, height = map(float, numbers)
        boxes.append((x, y, width, height))
    return boxes


def detect_siim(path: Path) -> bool:
    """Whether a folder or CSV holds SIIM's table of images."""
    return (path / IMAGE_LEVEL).is_file() if path.is_dir() else has_columns(path, ("id", "boxes", "StudyInstanceUID"))


def _rows(table: Path) -> dict[str, Record]:
    """The row of every image."""
    rows: dict[str, Record] = {}
    for record in read_records(table, _COLUMNS, required=("id", "boxes", "StudyInstanceUID")):
        name = record["id"].removesuffix(_OF_IMAGE)
        if not (name and record["StudyInstanceUID"]):
            raise DataError(f"Line {record.line} of {table} has no id or no StudyInstanceUID", table)
        if rows.setdefault(name, record) is not record:
            raise DataError(f"Lines {rows[name].line} and {record.line} of {table} both have the id {name}", table)
    if not rows:
        raise DataError(f"{table} has no rows", table)
    return rows


def _boxes(record: Record, table: Path) -> tuple[Box, ...]:
    """The boxes of a row."""
    text = record["boxes"]
    try:
        found = parse_boxes(text) if text else []
    except ValueError as error:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise DataError(f"The boxes on line {record.line} of {table} {error}: {shown}", table) from error
    return tuple(Box(OPACITY, x, y, x + width, y + height) for x, y, width, height in found)


def _agree(label: str, boxes: tuple[Box, ...]) -> bool:
    """Whether a label such as ``opacity 1 x1 y1 x2 y2 …`` or ``none 1 0 0 1 1`` names these boxes; "" always does."""
    words = label.lower().split()
    if not words or not boxes:
        return words[:1] in ([], ["none"])
    if len(words) != 6 * len(boxes) or any(word != OPACITY for word in words[::6]):
        return False
    try:
        written = [float(word) for at, word in enumerate(words) if at % 6 > 1]
    except ValueError:
        return False
    corners = [corner for box in boxes for corner in (box.left, box.top, box.right, box.bottom)]
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=_CLOSE) for a, b in zip(written, corners, strict=True))


def _tell_disagreement(table: Path, records: list[Record]) -> None:
    if records:
        lines = first_few(record.line for record in records)
        logger.warning(
            "The label of %d rows of %s isn't that of their boxes, which count: lines %s", len(records), table, lines
        )


def _appearances(path: Path) -> dict[str, int]:
    """From each study to the index of its appearance."""
    found: dict[str, int] = {}
    for record in read_records(path, _STUDY_COLUMNS, required=_STUDY_COLUMNS):
        marks = [record[name] for name in APPEARANCES]
        if sorted(marks) != ["0", "0", "0", "1"]:
            raise DataError(f"Line {record.line} of {path} needs one 1 and three 0, but has {', '.join(marks)}", path)
        study = record["id"].removesuffix(_OF_STUDY)
        if found.setdefault(study, marks.index("1")) != marks.index("1"):
            raise DataError(f"Line {record.line} of {path} gives {study} a second appearance", path)
    return found


def _study(sample: Sample) -> str:
    return sample.patient or sample.path.stem


def _row(sample: Sample) -> tuple[str, str, str, str]:
    """The cells of an image as the competition writes them."""
    name = sample.path.stem + _OF_IMAGE
    if not sample.boxes:
        return name, "", _NOTHING, _study(sample)
    sides = ((b.left, b.top, b.right - b.left, b.bottom - b.top) for b in sample.boxes)
    listed = [dict(zip(_KEYS, map(float, four), strict=True)) for four in sides]
    corners = (" ".join(map(written_number, (b.left, b.top, b.right, b.bottom))) for b in sample.boxes)
    return name, str(listed), " ".join(f"{OPACITY} 1 {four}" for four in corners), _study(sample)
