"""Public sets of findings, told by the columns of their tables: CheXpert, MIMIC-CXR-JPG, PadChest, VinDr-CXR, …"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from xraycls.data.csv import Row, all_cells, finding_values, label_name, table_of_rows
from xraycls.data.findings import Value, Values, listed_findings, values_of_lists
from xraycls.data.formats.by_id import has_columns
from xraycls.data.openi import is_openi, read_openi
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.records import Record, Records, plain, read_records, read_table_records
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import UNCERTAIN, Box, Split

logger = logging.getLogger(__name__)

CHEXPERT = (
    *("Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation"),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
"""CheXpert's observations but "No Finding", which follows from them (Irvin et al., AAAI 2019)."""

_NO_FINDING, _DEVICES = "No Finding", "Support Devices"
_CHEXPERT_FILES: tuple[tuple[str, Split], ...] = (("train.csv", "train"), ("valid.csv", "val"))
_CHEXPERT_COLUMNS = {
    "path": ("Path", "PngPath", "DicomPath"),
    "patient": ("PatientID", "patient"),
    "split": ("split",),
}

_MIMIC_LABELS, _MIMIC_FILMS, _MIMIC_SPLITS = ("*chexpert.csv", "*negbio.csv"), "*metadata.csv", "*split.csv"
_STUDY = {name: (name,) for name in ("subject_id", "study_id")}
_FILM = {**_STUDY, "dicom_id": ("dicom_id",), "split": ("split",)}

_PADCHEST = {name: (name,) for name in ("ImageID", "Labels", "PatientID")}
# What PadChest's labels say of a film or a report and not of a chest.
_NO_FINDINGS_OF_PADCHEST = frozenset(("exclude", "suboptimal study", "unchanged"))

_COVID = {name: (name,) for name in ("patientid", "finding", "modality", "filename")}
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_VINDR = {name: (name,) for name in ("image_id", "rad_id", "class_name", *_CORNERS)}
_READERS_AGREE = 0.5  # share of the readers of a film from which a finding counts as present


class Reader(Protocol):
    """Reads a table of findings, or the folder that holds it."""

    def __call__(self, path: Path, *, images: Path | None, strict: bool, options: ReadOptions) -> SampleTable:
        """The table of ``path``; raises DataError where it can't be read or no picture is there."""
        ...


@dataclass(frozen=True, slots=True)
class FindingsSet:
    """A data set that is told by its columns.

    Attributes:
        title: as in sentences.
        detect: whether a file or folder is of it.
        read: its reader.
        classes: whether its table read as any other has classes of its own, for one label an image.
    """

    title: str
    detect: Callable[[Path], bool]
    read: Reader
    classes: bool = False


def detect_findings_set(path: Path, options: ReadOptions = AS_IT_IS) -> FindingsSet | None:
    """The set that a file or folder is of; None for others, and where the user speaks of classes that it spells."""
    found = next((each for each in FINDINGS_SETS if each.detect(path)), None)
    speaks = options.task == "single" or options.class_map is not None or options.positive is not None
    return None if found and found.classes and speaks else found


def read_chexpert(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read ``train.csv`` or ``valid.csv`` of CheXpert, a table of its columns such as BRAX', or the folder of both.

    Cells are 1, 0, -1 for uncertain, or blank for what the report doesn't mention: unknown, unless "No Finding" is 1,
    which says that all findings but devices are absent. Of the folder, ``valid.csv`` is the validation split.

    Args:
        path: a table or its folder.
        images: the folder that the paths start from; None for the table's own.
        strict: raise where a picture is missing instead of leaving it out.
        options: what blank cells mean.

    Raises:
        DataError: the table can't be read, a cell is no label, or no picture is there.
    """
    if not path.is_dir():
        rows = _chexpert_rows(path, images, options)
        return table_of_rows(path, rows, images=images, strict=strict, findings=CHEXPERT)
    tables = []
    for name, split in _CHEXPERT_FILES:
        if (file := path / name).is_file():
            rows = [replace(row, split=split) for row in _chexpert_rows(file, images, options)]
            tables.append(table_of_rows(file, rows, images=images, strict=strict, findings=CHEXPERT))
    return tables[0].with_samples(sample for table in tables for sample in table)


def _chexpert_rows(path: Path, images: Path | None, options: ReadOptions) -> list[Row]:
    records = read_table_records(path, _CHEXPERT_COLUMNS, required=("path",))
    observed = _observed(path, records, options)
    rows = []
    for record, found in zip(records.rows, observed, strict=True):
        patient, split = record["patient"] or None, split_named(record["split"])
        rows.append(Row(record.line, record["path"], label_name(found), patient, split, record.others, found))
    if not rows:
        raise DataError(f"{path} has no rows", path)
    # Paths begin with the name of the set's folder, which may be called otherwise by now.
    start = rows[0].name.partition("/")[2]
    folder = images or path.parent
    if not (folder / rows[0].name).is_file() and (folder / start).is_file():
        rows = [replace(row, name=row.name.partition("/")[2]) for row in rows]
    return rows


def _observed(path: Path, records: Records, options: ReadOptions) -> list[Values]:
    """What each row says of CheXpert's findings."""
    written = {plain(name): name for name in records.header}
    columns = tuple(written.get(plain(name), name) for name in (*CHEXPERT, _NO_FINDING))
    observed = []
    for record in records.rows:
        *values, healthy = finding_values(path, record, all_cells(records, record), columns, options)
        observed.append(_without_findings(values) if healthy == 1.0 else tuple(values))
    return observed


def _without_findings(values: Sequence[Value]) -> Values:
    return tuple(
        0.0 if value is None and name != _DEVICES else value for name, value in zip(CHEXPERT, values, strict=True)
    )


def _is_chexpert(path: Path) -> bool:
    if path.is_dir():
        return any(_is_chexpert(path / name) for name, _ in _CHEXPERT_FILES)
    return has_columns(path, ("Path", *CHEXPERT[:6])) or has_columns(path, ("PngPath", *CHEXPERT[:6]))


def read_mimic(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read MIMIC-CXR-JPG: the labels of studies, the films of ``…-metadata.csv`` and the splits of ``…-split.csv``.

    Tables lie beside each other, unpacked; pictures are ``files/p10/p10000032/s50414267/<dicom_id>.jpg``. Cells are
    read as CheXpert's.

    Args:
        path: ``mimic-cxr-2.0.0-chexpert.csv``, that of NegBio, or the folder.
        images: the folder that holds ``files``; None for the table's own.
        strict: raise where a picture is missing instead of leaving it out.
        options: what blank cells mean.

    Raises:
        DataError: a table is missing or can't be read, a cell is no label, or no picture is there.
    """
    labels = _first_of(path, _MIMIC_LABELS) if path.is_dir() else path
    assert labels is not None
    films = _first_of(labels.parent, (_MIMIC_FILMS,))
    if films is None:
        raise DataError(
            f"{labels} names studies, and no {_MIMIC_FILMS} beside it tells their films",
            labels,
            "Unpack mimic-cxr-2.0.0-metadata.csv.gz there",
        )
    records = read_table_records(labels, _STUDY, required=_STUDY)
    observed = _observed(labels, records, options)
    studies = {record["study_id"]: found for record, found in zip(records.rows, observed, strict=True)}
    splits: dict[str, Split | None] = {}
    if table := _first_of(labels.parent, (_MIMIC_SPLITS,)):
        each = read_records(table, _FILM, required=("dicom_id", "split"))
        splits = {record["dicom_id"]: split_named(record["split"].replace("validate", "val")) for record in each}
    rows = []
    for film in read_records(films, _FILM, required=("dicom_id", "study_id", "subject_id")):
        subject, study, name = film["subject_id"], film["study_id"], film["dicom_id"]
        if study in studies:
            found = studies[study]
            file = f"files/p{subject[:2]}/p{subject}/s{study}/{name}.jpg"
            rows.append(Row(film.line, file, label_name(found), f"p{subject}", splits.get(name), film.others, found))
    return table_of_rows(films, rows, images=images, strict=strict, findings=CHEXPERT)


def _is_mimic(path: Path) -> bool:
    if path.is_dir():
        return (labels := _first_of(path, _MIMIC_LABELS)) is not None and _is_mimic(labels)
    return has_columns(path, (*_STUDY, *CHEXPERT[:2]))


def _first_of(folder: Path, patterns: Iterable[str]) -> Path | None:
    return next((file for pattern in patterns for file in sorted(folder.glob(pattern))), None)


def read_padchest(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read PadChest's table, whose cells list labels as ``['pleural effusion', 'nodule']``.

    What isn't listed is absent. Films that are excluded or suboptimal tell nothing.

    Args:
        path: ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv``, unpacked.
        images: the folder of the pictures, with sub-folders; None for the table's own.
        strict: raise where a picture is missing instead of leaving it out.
        options: of no effect.

    Raises:
        DataError: the table can't be read, or no picture is there.
    """
    records = read_records(path, _PADCHEST, required=("ImageID", "Labels"))
    lists = [_padchest_labels(record["Labels"]) for record in records]
    names, values = values_of_lists(lists)
    rows = [
        Row(r.line, r["ImageID"], label_name(found), r["PatientID"] or None, None, r.others, found)
        for r, found in zip(records, values, strict=True)
        if r["ImageID"]
    ]
    return table_of_rows(path, rows, images=images, strict=strict, findings=names)


def _padchest_labels(cell: str) -> frozenset[str] | None:
    found = listed_findings(cell, ",")
    if found is None or found & {"exclude", "suboptimal study"}:
        return None
    return found - _NO_FINDINGS_OF_PADCHEST


def _is_padchest(path: Path) -> bool:
    if not has_columns(path, ("ImageID", "ImageDir", "Labels", "Projection")):
        return False
    with path.open(encoding="utf-8", errors="replace") as file:  # with one label an image it is a plain CSV
        return any(re.search(r"\['[^'\]]*', *'", line) for line in file)


def read_vindr(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read VinDr-CXR: a row a reader and finding of each film, or a row a reader with a column for each finding.

    A finding is present where at least half of a film's readers name it, uncertain where fewer do, else absent. The
    boxes of a film are those of findings that are present, as each reader drew them.

    Args:
        path: ``train.csv`` of the challenge, ``annotations_train.csv`` or ``image_labels_train.csv``.
        images: the folder of the pictures; None for the table's own.
        strict: raise where a picture is missing instead of leaving it out.
        options: what blank cells mean.

    Raises:
        DataError: the table can't be read, a cell is no label or no number of a box, or no picture is there.
    """
    records = read_table_records(path, _VINDR, required=("image_id", "rad_id"))
    readers: dict[str, dict[str, set[str]]] = defaultdict(dict)
    lines: dict[str, Record] = {}
    drawn: dict[str, list[Box]] = defaultdict(list)
    for record, named in zip(records.rows, _vindr_names(path, records, options), strict=True):
        lines.setdefault(record["image_id"], record)
        readers[record["image_id"]].setdefault(record["rad_id"], set()).update(named)
        drawn[record["image_id"]] += [_vindr_box(path, record, name) for name in named if record["x_min"]]
    names = tuple(sorted({name for film in readers.values() for each in film.values() for name in each}))
    rows = []
    for film, each in readers.items():
        found = _agreed(names, each)
        present = {name for name, value in zip(names, found, strict=True) if value == 1.0}
        boxes = tuple(box for box in drawn[film] if box.label in present)
        told = (("readers", str(len(each))),)
        rows.append(Row(lines[film].line, film, label_name(found), None, None, told, found, boxes))
    return table_of_rows(path, rows, images=images, strict=strict, findings=names)


def _vindr_box(path: Path, record: Record, name: str) -> Box:
    try:
        left, top, right, bottom = (float(record[corner]) for corner in _CORNERS)
    except ValueError:
        cells = ", ".join(record[corner] or "nothing" for corner in _CORNERS)
        raise DataError(
            f"Line {record.line} of {path} has {cells} in {', '.join(_CORNERS)}, which is no box", path, "Mend the line"
        ) from None
    return Box(name, left, top, right, bottom)


def _vindr_names(path: Path, records: Records, options: ReadOptions) -> list[frozenset[str]]:
    """The findings that each row names."""
    if "class_name" in records.columns:
        return [listed_findings(record["class_name"], "|") or frozenset() for record in records.rows]
    taken = {plain(name) for name in ("image_id", "rad_id")}
    columns = [name for name in records.header if plain(name) not in taken]
    rows = [finding_values(path, r, all_cells(records, r), columns, options) for r in records.rows]
    lists = [frozenset(n for n, value in zip(columns, row, strict=True) if value == 1.0) for row in rows]
    return [listed_findings("|".join(sorted(each)) or _NO_FINDING, "|") or frozenset() for each in lists]


def _agreed(names: Sequence[str], readers: Mapping[str, set[str]]) -> Values:
    shares = [sum(name in named for named in readers.values()) / len(readers) for name in names]
    return tuple(1.0 if share >= _READERS_AGREE else UNCERTAIN if share else 0.0 for share in shares)


def _is_vindr(path: Path) -> bool:
    if not has_columns(path, ("image_id", "rad_id")):
        return False
    if not has_columns(path, ("class_name",)):
        return True
    films = [record["image_id"] for record in read_records(path, _VINDR, required=("image_id",))]
    return len(set(films)) < len(films)  # with one row a film it is a plain CSV


def read_covid_chestxray(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read ``metadata.csv`` of covid-chestxray-dataset, whose cells name findings from the general to the particular.

    "Pneumonia/Viral/COVID-19" shows all three; "todo" and "Unknown" tell nothing. Rows of CT are left out.

    Args:
        path: the table.
        images: the folder of the pictures; None for ``images`` beside the table, else its own.
        strict: raise where a picture is missing instead of leaving it out.
        options: of no effect.

    Raises:
        DataError: the table can't be read, or no picture is there.
    """
    records = read_records(path, _COVID, required=("finding", "filename"))
    films = [record for record in records if "ct" not in record["modality"].lower().split("-") and record["filename"]]
    if left_out := len(records) - len(films):
        logger.info("%d of %d rows of %s are of CT or name no file, and are left out.", left_out, len(records), path)
    lists = [listed_findings(record["finding"].replace(",", "/"), "/") for record in films]
    names, values = values_of_lists([None if each is None else frozenset(map(str.strip, each)) for each in lists])
    rows = [
        Row(r.line, r["filename"], label_name(found), r["patientid"] or None, None, (*r.others, *_kept(r)), found)
        for r, found in zip(films, values, strict=True)
    ]
    beside = path.parent / "images"
    folder = images or (beside if beside.is_dir() else None)
    return table_of_rows(path, rows, images=folder, strict=strict, findings=names)


def _kept(record: Record) -> tuple[tuple[str, str], ...]:
    return tuple((name, record[name]) for name in ("finding", "modality") if record[name])


def _is_covid_chestxray(path: Path) -> bool:
    return not path.is_dir() and has_columns(path, ("patientid", "finding", "RT_PCR_positive", "modality", "filename"))


FINDINGS_SETS = (
    FindingsSet("CheXpert", _is_chexpert, read_chexpert),
    FindingsSet("MIMIC-CXR-JPG", _is_mimic, read_mimic),
    FindingsSet("PadChest", _is_padchest, read_padchest),
    FindingsSet("VinDr-CXR", _is_vindr, read_vindr),
    FindingsSet("covid-chestxray-dataset", _is_covid_chestxray, read_covid_chestxray, classes=True),
    FindingsSet("Open-i", is_openi, read_openi),
)
