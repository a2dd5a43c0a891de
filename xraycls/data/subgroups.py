"""Which group each image belongs to: age, sex, view, site and scanner, from columns of a table or DICOM headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xraycls.data.dicom.header import read_header, scanner_of
from xraycls.data.dicom.sniff import DICOM_SUFFIXES
from xraycls.data.projections import views_of
from xraycls.data.records import plain
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sex": ("sex", "gender", "Patient Sex", "Patient Gender", "PatientSex_DICOM"),
    "age": ("age", "Patient Age", "Age in years", "Patient Age Years"),
    "site": ("site", "hospital", "institution", "center", "centre", "location", "source", "dataset"),
    "scanner": ("scanner", "manufacturer", "Manufacturer_DICOM", "ManufacturerModelName", "equipment"),
}
GROUPINGS = ("sex", "age", "view", "site", "scanner")
"""What images are grouped by where their tables or headers tell."""

_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male", "o": "other", "other": "other"}
_AGE = re.compile(r"0*(\d{1,3}(?:\.\d+)?)\s*([ymwd]?).*", re.IGNORECASE)
_A_YEAR = {"": 1.0, "y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25}
_BANDS = ((18, "0–17"), (40, "18–39"), (60, "40–59"), (80, "60–79"), (200, "80 and over"))
_MOST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of images.

    Attributes:
        name: of what tells them apart, such as "sex".
        values: the group of each image; None where it isn't known.
    """

    name: str
    values: tuple[str | None, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that occur, by name."""
        return tuple(sorted({value for value in self.values if value is not None}))


def groupings_of(table: SampleTable, wanted: str | None = None) -> list[Grouping]:
    """What tells groups of a table's images apart.

    Args:
        table: whose samples carry the columns of their table; DICOM files are asked for sex, age, view and scanner.
        wanted: names of ``GROUPINGS`` or of columns, separated by commas, or "none"; None takes those of ``GROUPINGS``
            that tell at least two groups, and no more than 20.

    Raises:
        UsageError: one that was asked for isn't there, or has more than 20 groups.

    Example:
        >>> from pathlib import Path
        >>> films = [Sample(Path(f"{age}.png"), attributes=(("Patient Age", age),)) for age in ("061Y", "7", "45")]
        >>> groupings_of(SampleTable(tuple(films), ("NORMAL", "PNEUMONIA"), Path(), "csv"))[0].values
        ('60–79', '0–17', '40–59')
    """
    names = [name.strip() for name in (wanted or "").split(",") if name.strip()]
    if names == ["none"]:
        return []
    told = [{plain(name): value for name, value in (*_of_header(s), *s.attributes)} for s in table]
    if not names:
        found = [_grouping(name, table, told) for name in GROUPINGS]
        return [each for each in found if 1 < len(each.groups) <= _MOST_GROUPS]
    chosen = [_grouping(name, table, told) for name in names]
    for each in chosen:
        if not each.groups:
            columns = sorted({name for sample in table for name, _ in sample.attributes})
            raise UsageError(
                f"Neither a column nor a DICOM header of {table.root} tells {each.name} for --subgroups",
                f"Its columns are {', '.join(columns)}" if columns else "Leave --subgroups out",
            )
        if len(each.groups) > _MOST_GROUPS:
            raise UsageError(
                f"{each.name} has {len(each.groups)} values, and --subgroups takes up to {_MOST_GROUPS}",
                "Name a column with fewer values",
            )
    return chosen


def _grouping(name: str, table: SampleTable, told: Sequence[Mapping[str, str]]) -> Grouping:
    if plain(name) == "view":
        return Grouping("view", tuple(_view(sample, each) for sample, each in zip(table, told, strict=True)))
    columns = [plain(column) for column in _COLUMNS.get(name.lower(), (name,))]
    cells = ([each[column] for column in columns if each.get(column)] for each in told)
    read: Callable[[str], str | None] = {"sex": _sex, "age": _age_band}.get(name.lower(), str.strip)
    return Grouping(name, tuple(read(found[0]) if found else None for found in cells))


def _sex(text: str) -> str | None:
    return _SEXES.get(text.strip().lower())


def _age_band(text: str) -> str | None:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return None
    years = float(match[1]) / _A_YEAR[match[2].lower()]
    return next((band for below, band in _BANDS if years < below), None)


def _view(sample: Sample, told: Mapping[str, str]) -> str | None:
    """The most detailed of the columns that tell projections: AP/PA before frontal/lateral."""
    found = views_of(sample)
    return found[-1] if found else told.get("view")


def _of_header(sample: Sample) -> tuple[tuple[str, str], ...]:
    """What a DICOM file says of its image; nothing where it can't be read, which evaluation tells."""
    if sample.member is not None or sample.path.suffix.lower() not in DICOM_SUFFIXES:
        return ()
    try:
        told = read_header(sample.path).attributes
    except DataError:
        return ()
    scanner = scanner_of(sample.path)
    return (*told, ("scanner", scanner)) if scanner else told
