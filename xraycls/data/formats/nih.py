"""The tables of NIH's ChestX-ray14: findings of every image, boxes of some, and the official lists of its splits."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.data.findings import LABELS, listed_findings, values_of_lists
from xraycls.data.formats.by_id import (
    coordinate,
    folder_of_pictures,
    has_columns,
    pictures_by_id,
    table_beside,
)
from xraycls.data.patients import patient_of
from xraycls.data.records import Record, read_records, read_text
from xraycls.data.rows import write_rows, written_box
from xraycls.data.spelling import is_healthy
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample, Split

BOXES = "BBox_List_2017.csv"
ENTRIES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "sample_labels.csv")
IMAGES = "images"
CLASSES = LABELS
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
"""The fourteen findings, in the order of Wang et al. 2017 and of the works that followed."""

_NO_FINDING = CLASSES[0]
_LISTS: tuple[tuple[str, Split], ...] = (("train_val_list.txt", "train"), ("test_list.txt", "test"))
_IMAGE, _FINDINGS, _PATIENT = "Image Index", "Finding Labels", "Patient ID"
_ENTRY_COLUMNS = {name: (name,) for name in (_IMAGE, _FINDINGS, _PATIENT)}
# The commas within the published header's brackets, "Bbox [x,y,w,h]", cut it into four columns.
_CORNER = {"x": ("Bbox [x", "x"), "y": ("y",), "width": ("w", "width"), "height": ("h]", "height")}
_BOX_COLUMNS = {"image": (_IMAGE, "image"), "finding": ("Finding Label", "finding"), **_CORNER}
_BOX_HEADER = f"{_IMAGE},Finding Label,Bbox [x,y,w,h],,,".split(",")


def read_nih(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read the table of boxes or that of findings, or the folder that holds them.

    With ``Data_Entry_2017.csv`` or ``sample_labels.csv``, all its pictures are read, and boxes for those that have
    some; without, the pictures of the boxes. The table's findings are those that occur in the table of findings, and
    its classes "No Finding" and "Finding". Patients come from the names where these tell, and splits from
    ``test_list.txt`` and ``train_val_list.txt`` where they lie beside the table.

    Args:
        path: a table or its folder.
        images: the folder of the pictures, with sub-folders, where it isn't ``images`` beside the table.
        strict: raise where a picture is missing instead of leaving it out.

    Raises:
        DataError: a table that can't be read or contradicts itself, or no picture found.
    """
    entries_path, boxes_path = _tables(path)
    boxes = _boxes(boxes_path) if boxes_path else {}
    entries = _entries(entries_path) if entries_path else {}
    table = entries_path or boxes_path or path
    if not (entries or boxes):
        raise DataError(f"{table} has no rows", table)
    splits = _splits(table.parent)
    folder = folder_of_pictures(table, IMAGES, images)
    samples = []
    names, values = values_of_lists([listed_findings(e[_FINDINGS], "|") for e in entries.values()], FINDINGS)
    told = dict(zip(entries, values, strict=True))
    for name, file in pictures_by_id(table, entries or boxes, folder, strict=strict).items():
        entry = entries.get(name)
        findings = entry[_FINDINGS] if entry else CLASSES[1]
        samples.append(
            Sample(
                file,
                label=int(findings.casefold() != _NO_FINDING.casefold()),
                patient=patient_of(file) or (entry[_PATIENT] if entry else "") or None,
                split=splits.get(name),
                boxes=tuple(boxes.get(name, ())),
                attributes=((_FINDINGS, findings), *entry.others) if entry else (),
                findings=told.get(name, ()),
            )
        )
    return SampleTable(tuple(sorted(samples, key=lambda s: s.path)), CLASSES, folder, "nih", findings=names)


def write_nih(table: SampleTable, folder: Path) -> None:
    """Write the tables of boxes and of findings below ``folder``, and the lists of the splits where there are some.

    Of pictures that don't come from NIH's tables, the findings are those of the boxes; without a box, it is the
    class, or "No Finding" for a healthy class and the first of two.

    Raises:
        XrayclsError: the files can't be written.
    """
    others = {name: None for sample in table for name, _ in sample.attributes if name not in _ENTRY_COLUMNS and name}
    entries = []
    for sample in table:
        about = dict(sample.attributes)
        findings = about.get(_FINDINGS) or _findings(sample, table.classes)
        entries.append([sample.path.name, findings, sample.patient or "", *(about.get(name, "") for name in others)])
    corners = [(sample.path.name, box.label, *written_box(box)) for sample in table for box in sample.boxes]
    write_rows(folder / ENTRIES[0], (*_ENTRY_COLUMNS, *others), entries)
    write_rows(folder / BOXES, _BOX_HEADER, corners)
    if not table.splits:
        return
    for name, split in _LISTS:
        members = (s.path.name for s in table if s.split and (s.split == "test") == (split == "test"))
        with atomic_write(folder / name) as temporary:
            temporary.write_text("".join(f"{member}\n" for member in members), encoding="utf-8", newline="")


def detect_nih(path: Path) -> bool:
    """Whether a folder or CSV holds NIH's table of boxes or of findings."""
    if path.is_dir():
        return any((path / name).is_file() for name in (BOXES, *ENTRIES))
    # A table of findings under another name may be somebody's choice of one finding an image, which is a plain CSV.
    return has_columns(path, _BOX_HEADER[:2]) or (path.name in ENTRIES and has_columns(path, _ENTRY_COLUMNS))


def _tables(path: Path) -> tuple[Path | None, Path | None]:
    """The table of findings and that of boxes: the one that is meant, and the other where it lies beside it."""
    given = table_beside(path, (*ENTRIES, BOXES))
    if has_columns(given, (_IMAGE, _FINDINGS)):
        return given, _beside(given, (BOXES,))
    return _beside(given, ENTRIES), given


def _beside(table: Path, names: tuple[str, ...]) -> Path | None:
    return next((table.parent / name for name in names if (table.parent / name).is_file()), None)


def _boxes(table: Path) -> dict[str, list[Box]]:
    """The boxes of every image, by its name without suffix."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for record in read_records(table, _BOX_COLUMNS, required=_BOX_COLUMNS):
        if not (record["image"] and record["finding"]):
            raise DataError(f"Line {record.line} of {table} has no image or no finding", table)
        x, y, width, height = (coordinate(record, role, table) for role in _CORNER)
        boxes[_stem(record["image"])].append(Box(record["finding"], x, y, x + width, y + height))
    return boxes


def _entries(table: Path) -> dict[str, Record]:
    """The row of every image, by its name without suffix."""
    entries: dict[str, Record] = {}
    for record in read_records(table, _ENTRY_COLUMNS, required=(_IMAGE, _FINDINGS)):
        if not (record[_IMAGE] and record[_FINDINGS]):
            raise DataError(f"Line {record.line} of {table} has no image or no finding", table)
        first = entries.setdefault(_stem(record[_IMAGE]), record)
        if first is not record:
            raise DataError(f"Lines {first.line} and {record.line} of {table} both name {record[_IMAGE]}", table)
    return entries


def _splits(folder: Path) -> dict[str, Split]:
    """The official split of every image, by its name without suffix; empty where the lists aren't there."""
    listed = [(folder / name, split) for name, split in _LISTS if (folder / name).is_file()]
    return {
        _stem(name): split for path, split in listed if path.stat().st_size for name in read_text(path).splitlines()
    }


def _stem(name: str) -> str:
    return Path(name.strip()).stem


def _findings(sample: Sample, classes: tuple[str, ...]) -> str:
    if sample.boxes:
        return "|".join(sorted({box.label for box in sample.boxes}))
    if sample.label is None or is_healthy(name := classes[sample.label]) or (len(classes) == 2 and sample.label == 0):
        return _NO_FINDING
    return name
